"""Clips of the shared material as frames, and people drawn into frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ssr_video.frame import Frame


def frames_of(path: Path) -> Iterator[Frame]:
    """Decoded upright frames of a clip."""
    import av

    with av.open(str(path)) as container:
        begin = None
        for index, picture in enumerate(container.decode(video=0)):
            time = float(picture.pts * picture.time_base)
            begin = time if begin is None else begin
            image = np.ascontiguousarray(np.rot90(picture.to_ndarray(format="bgr24"), picture.rotation // 90))
            yield Frame(index, time - begin, image, follows=index > 0)
