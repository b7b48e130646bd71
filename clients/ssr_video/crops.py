"""The crops of one look at a face: a little larger and smaller, aside, and mirrored.

An age network's answer hangs on how the face lies in its crop: boxes wrong by 5 % move it by 2 to 3 years
(standard deviation, released networks, 208 studio portraits). The mean over the four crops here moves half as
much, and is as right as that of one (docs/video-age.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from ssr_client.crops import Picture
from ssr_client.preprocess import crop_faces

from ssr_bundle.alignment import Points
from ssr_bundle.contract import Crop
from ssr_bundle.crop import Box

ONE = ((1.0, 0.0, 0.0, False),)
FOUR = (
    (0.96, -0.03, -0.03, False),
    (1.04, 0.03, 0.03, False),
    (1.04, -0.03, 0.03, True),
    (0.96, 0.03, -0.03, True),
)
"""Scale, shift to the right and down in box widths and heights, whether mirrored."""
SETS = {len(crops): crops for crops in (ONE, FOUR)}
"""By the number of crops that a look may have."""


def crops_of_looks(
    image: Picture, boxes: Sequence[Box], landmarks: Sequence[Points | None], crop: Crop, count: int
) -> Picture:
    """``count`` crops of each of M faces, as the served ``crop`` cuts: (M, count, 64, 64, 3), colours as in
    ``image``."""
    moved = [
        _moved(box, points, *how[:3])
        for box, points in zip(boxes, landmarks, strict=True)
        for how in SETS[count]
    ]
    cut = crop_faces(image, [box for box, _ in moved], crop, landmarks=[points for _, points in moved])
    looks = cut.reshape(len(boxes), count, *cut.shape[1:])
    for i, (*_, mirrored) in enumerate(SETS[count]):
        if mirrored:
            looks[:, i] = looks[:, i, :, ::-1].copy()
    return looks


def _moved(
    box: Box, landmarks: Points | None, scale: float, right: float, down: float
) -> tuple[Box, Points | None]:
    """A face moved and grown in its picture, or its crop the other way."""
    x, y, w, h = box
    cx, cy = x + w / 2, y + h / 2
    dx, dy = right * w, down * h
    points = landmarks and tuple(
        (cx + dx + (px - cx) * scale, cy + dy + (py - cy) * scale) for px, py in landmarks
    )
    return (cx + dx - scale * w / 2, cy + dy - scale * h / 2, scale * w, scale * h), points
