"""A frame of a video: its picture, and when it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    ``index``: its place among the decoded frames of its source, from 0. ``time``: seconds of the stream, from
    its presentation timestamp, the first frame's being 0; it rises from frame to frame. ``utc``: the same
    moment where the source knows it. ``image``: uint8 (H, W, 3), BGR, upright. ``follows``: whether it shows
    what comes after the frame before; False for the first, and where size or timestamps jumped.
    """

    index: int
    time: float
    image: NDArray[np.uint8]
    utc: datetime | None = None
    follows: bool = True
