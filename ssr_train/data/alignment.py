"""Five-point alignment: a face turned upright and to one size by a similarity transform."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

_FACE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
_SPREAD, _CENTRE = 0.537, (0.5, 0.533)

TEMPLATE: NDArray[np.float64] = (_FACE - (56.0, 72.0)) / 112.0 * _SPREAD + _CENTRE
"""Where right eye, left eye, nose tip, right and left mouth corner (the person's right) come to lie, (5, 2)
as shares of the picture's side.

The shape is the 112 x 112 template of ArcFace (Deng et al. 2019, InsightFace). Scale and centre are those of
the contract's crop: the height from eyes to mouth there is 0.195 of the side, its middle lies at 0.533, the
mean of YuNet's landmarks on seven faces of the two photos that this project tests with.
"""


def similarity(landmarks: ArrayLike, size: int) -> NDArray[np.float64]:
    """The (2, 3) similarity from picture pixels to a ``size`` x ``size`` crop, best in least squares.

    ``landmarks`` (5, 2) x, y in pixels, in :data:`TEMPLATE`'s order. The closed form over all five points,
    and not ``cv2.estimateAffinePartial2D``, which drops points at random as outliers.
    """
    points = np.asarray(landmarks, np.float64)
    target = TEMPLATE * size - 0.5  # centres of pixels have whole coordinates
    rows = np.zeros((2 * len(points), 4))
    rows[0::2] = np.stack([points[:, 0], -points[:, 1], np.ones(len(points)), np.zeros(len(points))], 1)
    rows[1::2] = np.stack([points[:, 1], points[:, 0], np.zeros(len(points)), np.ones(len(points))], 1)
    a, b, x, y = np.linalg.lstsq(rows, target.ravel(), rcond=None)[0]
    return np.array([(a, -b, x), (b, a, y)])


def align(picture: NDArray[np.uint8], landmarks: ArrayLike, size: int) -> NDArray[np.uint8]:
    """The face with ``landmarks`` as a (size, size, 3) crop; outside the picture its border pixels repeat."""
    warped = cv2.warpAffine(
        picture,
        similarity(landmarks, size),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, np.uint8)
