#!/usr/bin/env bash
# Ages of the faces in a PPM picture, in one request, as JSON: ./frame.sh PICTURE.ppm [HOST:PORT]
# Triton's HTTP protocol with its binary extension: a JSON header, then the pixels.
set -euo pipefail
picture=${1:?usage: ./frame.sh PICTURE.ppm [HOST:PORT]}
server=${2:-localhost:8000}

# "P6", width, height, 255 and one white space, then RGB bytes.
read -r magic width height most < <(head -c 64 "$picture" | tr '\n' ' ' | tr -d '\0'; echo)
most=${most%% *}
[[ $magic == P6 && $most == 255 ]] || { echo "$picture: not a PPM picture (P6, 255)" >&2; exit 1; }
bytes=$((width * height * 3))

header='{"parameters": {"format": "rgb"},
 "inputs": [{"name": "frame", "shape": ['$height', '$width', 3], "datatype": "UINT8",
             "parameters": {"binary_data_size": '$bytes'}}],
 "outputs": [{"name": "age"}, {"name": "boxes"}, {"name": "scores"}]}'
{ printf '%s' "$header"; tail -c "$bytes" "$picture"; } |
  curl --silent --show-error --fail-with-body --data-binary @- \
    --header "Inference-Header-Content-Length: ${#header}" \
    --header "Content-Type: application/octet-stream" \
    "http://$server/v2/models/ssrnet-frame/infer"
echo
