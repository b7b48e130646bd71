"""Ages of the faces in a photo, in one request: python frame.py PHOTO [HOST:PORT]"""

from __future__ import annotations

import sys

from ssr_client import AgeClient
from ssr_client.errors import BadInput
from ssr_client.preprocess import read_picture


def main(photo: str, url: str = "localhost:8001") -> None:
    try:
        frame = read_picture(photo)  # BGR, upright, whole
    except (BadInput, OSError) as error:
        sys.exit(str(error))
    with AgeClient(url) as client:
        for face in client.predict_frame(frame, "bgr"):
            x, y, width, height = face.box
            print(f"{face.age:.1f} years at {x:.0f},{y:.0f} {width:.0f}x{height:.0f}")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(str(__doc__))
    main(*sys.argv[1:])
