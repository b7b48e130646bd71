"""Clips of the shared material as frames, and people drawn into frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ssr_video.frame import Frame


def frames_of(path: Path) -> Iterator[Frame]:
    """The frames of a clip."""
    from ssr_video.video_file import VideoFile  # needs PyAV, which not all who import this module do

    with VideoFile(path) as video:
        yield from video
