"""How well a face can be seen: what a look at it is worth before anybody is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ssr_client.opencv import cv2

from ssr_bundle.alignment import Points

NOSE = 0.46
"""How far the tip of the nose stands out from the plane of eyes and mouth, in distances between the eyes."""


@dataclass(frozen=True)
class View:
    """``size``: height of the box in pixels. ``yaw``: degrees, None without landmarks. ``score``: the
    detector's, 0 to 1. ``sharpness``: of the cut, see :func:`sharpness`; None before it is cut."""

    size: float
    yaw: float | None
    score: float
    sharpness: float | None = None

    @property
    def quality(self) -> float:
        """What a look is worth beside a large, sharp, frontal one, which is 1."""
        size = min(1.0, self.size / FULL_SIZE) ** 2
        turned = 1.0 if self.yaw is None else math.exp(-0.5 * (self.yaw / TURNED) ** 2)
        sharp = 1.0 if self.sharpness is None else min(1.0, max(0.1, self.sharpness / SHARP))
        return size * turned * sharp * min(1.0, max(0.1, self.score))


FULL_SIZE = 64.0
"""Pixels from which on a larger face counts no more. Studio portraits shrunk until a face is so high,
saved as JPEG: the released networks' answers move by 8 to 15 years at 24 pixels, 8 to 10 at 32, 5 to 7 at
50, 3 to 4 at 96 (docs/video-age.md)."""
TURNED = 30.0
"""Degrees of yaw at which a look is worth 0.6 of a frontal one."""
SHARP = 0.1
"""Sharpness from which on more of it tells no more."""


def yaw(landmarks: Points | None) -> float | None:
    """How far a face is turned aside, in degrees, from its five landmarks; positive: to its own left (the
    picture's right). None without them.

    The tip of the nose stands ``NOSE`` eye distances before the middle of eyes and mouth; seen at an
    angle, it moves aside by that times the sine while the eyes come closer by the cosine. Good to some ten
    degrees.
    """
    if landmarks is None:
        return None
    right_eye, left_eye, nose, right_mouth, left_mouth = np.asarray(landmarks, np.float64)
    across = left_eye - right_eye + left_mouth - right_mouth
    down = right_mouth + left_mouth - right_eye - left_eye
    # In the face's own axes: roll must not pass for yaw.
    axis = across / (np.hypot(*across) or 1.0) + np.array([down[1], -down[0]]) / (np.hypot(*down) or 1.0)
    axis /= np.hypot(*axis) or 1.0
    middle = (right_eye + left_eye + right_mouth + left_mouth) / 4
    aside = float((nose - middle) @ axis)
    eyes = float((left_eye - right_eye) @ axis)
    return math.degrees(math.atan2(aside / NOSE, max(eyes, 1e-6)))


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Energy of a crop's (64, 64, 3) finest details by that of all its details, 0 (blurred) to about 1."""
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).astype(np.float32)
    fine = grey - cv2.blur(grey, (3, 3))
    return float(fine.std() / (grey.std() + 1.0))
