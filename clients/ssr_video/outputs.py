"""All outputs of a run as one writer: files of the whole run, and files of each video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from ssr_video.events import Told
from ssr_video.frame import Frame
from ssr_video.part_file import PartFile
from ssr_video.reading import Reading
from ssr_video.summary import Summary
from ssr_video.writer import Writer

OfRun = Callable[[], AbstractContextManager[Writer]]
OfVideo = Callable[[str], AbstractContextManager[Writer]]
"""Makes the writer of one video, by its name."""


class Outputs:
    """A :class:`Writer`, and the context manager of all their files: whole where the block ends well."""

    def __init__(self, of_run: Sequence[OfRun], of_video: Sequence[OfVideo] = ()) -> None:
        self._of_run, self._of_video = of_run, of_video
        self._run, self._video = ExitStack(), ExitStack()
        self._writers: list[Writer] = []
        self._of_this_video: list[Writer] = []

    def __enter__(self) -> Outputs:
        with ExitStack() as opened:
            self._writers = [opened.enter_context(make()) for make in self._of_run]
            self._run = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._video.__exit__(kind, error, trace)
        finally:
            self._run.__exit__(kind, error, trace)

    def begin(self, reading: Reading, rate: float) -> None:
        self._of_this_video = [self._video.enter_context(make(reading.source)) for make in self._of_video]
        for writer in self._all():
            writer.begin(reading, rate)

    def frame(self, frame: Frame, told: Told) -> None:
        for writer in self._all():
            writer.frame(frame, told)

    def end(self, told: Told) -> None:
        for writer in self._all():
            writer.end(told)
        self._of_this_video = []
        self._video.close()

    def close(self, summary: Summary) -> None:
        for writer in self._writers:
            writer.close(summary)

    def _all(self) -> list[Writer]:
        return [*self._writers, *self._of_this_video]


class TextOutput(AbstractContextManager[Writer]):
    """A writer of text and the :class:`PartFile` that it fills."""

    def __init__(self, file: PartFile, make: Callable[[PartFile], Writer]) -> None:
        self._file, self._make = file, make

    def __enter__(self) -> Writer:
        with ExitStack() as opened:
            writer = self._make(opened.enter_context(self._file))
            self._opened = opened.pop_all()
        return writer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)
