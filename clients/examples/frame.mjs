// Ages of the faces in a PPM picture, in one request: node frame.mjs PICTURE.ppm [HOST:PORT]
// Node.js 18 or newer, no packages: Triton's HTTP protocol with its binary extension.
import { readFile } from "node:fs/promises";

const [path, server = "localhost:8000"] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: node frame.mjs PICTURE.ppm [HOST:PORT]");

// "P6", width, height, 255, each behind white space, then RGB bytes.
const file = await readFile(path);
const header = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(file.toString("latin1", 0, 64));
if (header === null) throw new Error(`${path}: not a PPM picture (P6, 255)`);
const [width, height] = [Number(header[1]), Number(header[2])];
const pixels = file.subarray(header[0].length, header[0].length + width * height * 3);

const request = Buffer.from(JSON.stringify({
  parameters: { format: "rgb" },
  inputs: [{ name: "frame", shape: [height, width, 3], datatype: "UINT8",
             parameters: { binary_data_size: pixels.length } }],
  outputs: ["age", "boxes", "scores"].map((name) => ({ name })),
}));
const response = await fetch(`http://${server}/v2/models/ssrnet-frame/infer`, {
  method: "POST",
  headers: { "Inference-Header-Content-Length": String(request.length) },
  body: Buffer.concat([request, pixels]),
});
const answer = await response.json();
if (!response.ok) throw new Error(answer.error);

const rows = Object.fromEntries((answer.outputs ?? []).map(({ name, data }) => [name, data]));
(rows.age ?? []).forEach((age, i) => {
  const [x, y, w, h] = rows.boxes.slice(4 * i, 4 * i + 4).map(Math.round);
  console.log(`${age.toFixed(1)} years at ${x},${y} ${w}x${h}, score ${rows.scores[i].toFixed(2)}`);
});
