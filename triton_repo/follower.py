"""Keep what a running server has loaded in step with its model repository.

The repository changes by publishes and rollbacks; the server, by what somebody else tells it. Whatever goes
wrong is told in one line and tried again.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from triton_repo.control import POLL_FAILED, Control, ControlError, Unreachable
from triton_repo.loaded import Loaded
from triton_repo.view import Failure, Signature, View

_POLL_SECONDS = 0.5
_COMPARE_SECONDS = 5.0
"""How often the server is asked what it has loaded; how long until what failed is tried again."""
_PATIENCE_SECONDS = 30.0
"""How long a repository may change without a pause before it is taken as it is."""
_UNLOAD_SECONDS = 5.0


@dataclass(frozen=True)
class ReadyModel:
    """A model that answers, and its ready versions, newest first."""

    model: str
    versions: tuple[int, ...]


class Follower:
    """Tells the server behind ``control`` to load what ``view`` holds, and ``tell``, in a line, what changed.

    ``served``: what answered at the last look; ``failures``: what did not, and why. ``ended`` is set when the
    server has ended. ``log`` gives the end of its log, if that can be read.
    """

    def __init__(
        self,
        view: View,
        control: Control,
        ended: threading.Event,
        tell: Callable[[str], None],
        log: Callable[[], str] = lambda: "",
    ) -> None:
        self.served: list[ReadyModel] = []
        self.failures: list[Failure] = view.failures
        self._view = view
        self._control = control
        self._ended = ended
        self._tell = tell
        self._log = log
        self._busy = threading.Lock()
        self._loaded = Loaded()
        self._troubles: list[Failure] = []
        self._strayed: dict[str, str] = {}
        self._changed: set[str] = set()
        self._gone: set[str] = set()

    def begin(self) -> None:
        """Load what a server that has just started could not load as it was told to."""
        ready = {(state.model, state.version) for state in self._control.index() if state.ready}
        models = self._view.models
        lacking = [m for m, versions in models.items() if not all((m, v) in ready for v in versions)]
        self._settle(self._load_all(lacking))

    def follow(self, applied: Signature, stopping: threading.Event) -> None:
        """Poll the repository, whose state ``applied`` the server has, until ``stopping`` or its end.

        A change is taken up once two looks in a row agree, so that half-copied versions are left alone; a
        model that writes into its own folder without a pause holds the others up for a while only.
        """
        last, told = applied, ""
        due = again = calm = time.monotonic()
        while not stopping.wait(_POLL_SECONDS) and not self._ended.is_set():
            try:
                found, now = self._view.signature(), time.monotonic()
                calm = now if found == last else calm
                changing, last = found != last, found
                if changing and now - calm < _PATIENCE_SECONDS:
                    again = now
                elif (found != applied or self._view.unsettled) and now >= again:
                    again = due = now + _COMPARE_SECONDS
                    calm = now
                    self.refresh()
                    applied, told = found, ""
                elif now >= due:
                    due = now + _COMPARE_SECONDS
                    self.compare()
                    told = ""
            except Exception as error:
                text = f"cannot follow the repository: {str(error) or type(error).__name__}"
                if not stopping.is_set() and not self._ended.is_set() and told != text:
                    told = text
                    with contextlib.suppress(Exception):
                        self._tell(text)

    def refresh(self) -> None:
        """Bring the server in step with the repository now."""
        with self._busy:
            changed, gone = self._view.update()
            # What an error keeps from the server now is for the next time.
            self._changed = {*self._changed, *changed} - set(gone)
            self._gone = {*self._gone, *gone} - set(changed)
            self._put_right(sorted(self._changed), sorted(self._gone))
            self._changed, self._gone = set(), set()

    def compare(self) -> None:
        """Bring the server back to what it was told to load, if somebody else told it otherwise."""
        with self._busy:
            now = Loaded.look(self._control)
            if strayed := self._loaded.strayed(now, self._view.models):
                self._put_right([], [])
            else:
                self._loaded = now.settled(self._loaded, self._view.models)
            self._strayed = strayed

    def _put_right(self, changed: Sequence[str], gone: Sequence[str]) -> None:
        """Load what ``changed`` and what strayed, unload what is ``gone`` and what nobody asked for."""
        before, served_before = set(self.failures), set(self.served)
        known = self._view.models
        strayed = self._loaded.strayed(Loaded.look(self._control), {**known, **dict.fromkeys(gone, ())})
        troubles = [f for f in self._troubles if f.model not in {*changed, *gone, *strayed}]
        troubles += self._load_all({*changed, *strayed} & {*known}, anew=strayed)
        for model in sorted({*changed, *strayed} - {*known}):
            self._unload(model)
        for model in gone:
            self._unload(model)
            self._tell(f"{model}: removed from the repository, unloaded")
        came_up = self._settle(troubles, [model for model in strayed if model in known])
        failed = {failure.model for failure in self._troubles}
        for model, what in strayed.items():
            if self._strayed.get(model) != what:
                done = "not put right" if model in failed else "put right"
                self._tell(f"{model}: {what}, {done if model in known else 'unloaded'}")
        new = [failure for failure in self.failures if failure not in before]
        for failure in new:
            self._tell(f"not served: {failure}")
        failing = {failure.model for failure in new}
        for served in self.served:
            if served.model in {*changed, *came_up}:
                numbers = ", ".join(map(str, served.versions))
                still = "still " if served.model in failing and served in served_before else ""
                self._tell(f"{served.model}: {still}serves version {numbers}")

    def _load_all(self, models: Collection[str], *, anew: Collection[str] = ()) -> list[Failure]:
        """Load ``models``, and those that a refusal among them changes."""
        troubles: list[Failure] = []
        for model in self._view.in_order(models):
            troubles += self._load(model, anew=model in anew)
        for model in self._view.followed():
            troubles += self._load(model)
        return troubles

    def _load(self, model: str, *, anew: bool = False) -> list[Failure]:
        """Load a model; versions that the server refuses are taken out, so that the others serve.

        ``anew``: all of it, though its files are the same as at the last time.
        """
        if anew and not self._view.touch(model):
            self._unload(model)
        while True:
            try:
                self._control.load(model)
                return []
            except Unreachable:
                raise
            except ControlError as error:
                states = {s.version: s for s in self._control.index() if s.model == model}
                wanted = self._view.models[model]
                bad = [v for v in wanted if v in states and states[v].failed]
                message = self._reason(model, str(error).removeprefix(f"{self._control.url}: "))
                if not bad:
                    return [Failure(model, None, message)]
                reasons = {v: one_line(states[v].reason) or message for v in bad}
                refused = [v for v in bad if self._view.refuse(model, v, reasons[v])]
                if not refused:
                    return [Failure(model, bad[0], reasons[bad[0]])]

    def _reason(self, model: str, message: str) -> str:
        """Why the server refused, in one line; of a configuration that it does not take the log says more."""
        told = poll_failure(self._log(), model) if POLL_FAILED in message else ""
        return told or one_line(message)

    def _unload(self, model: str) -> None:
        """Unload a model, and wait until it is gone, if that takes no longer than a few seconds."""
        deadline = time.monotonic() + _UNLOAD_SECONDS
        with contextlib.suppress(ControlError):
            self._control.unload(model)
            while model in Loaded.look(self._control).models and time.monotonic() < deadline:
                self._ended.wait(0.05)

    def _settle(self, troubles: Sequence[Failure], repaired: Collection[str] = ()) -> set[str]:
        """Take stock: what is ready, what is not. Returns the models whose ``troubles`` are over: what they
        need came up."""
        now = Loaded.look(self._control)
        before = {served.model: served.versions for served in self.served}
        over = [f for f in troubles if _is_over(f, before.get(f.model, ()), now.versions.get(f.model, ()))]
        self.served = [ReadyModel(model, versions) for model, versions in now.versions.items()]
        self._loaded = now.settled(self._loaded, repaired)
        self._troubles = [failure for failure in troubles if failure not in over]
        self.failures = [*dict.fromkeys([*self._view.failures, *self._troubles])]
        return {failure.model for failure in over}


def _is_over(failure: Failure, before: Collection[int], now: Collection[int]) -> bool:
    """Whether what failed is among the versions ready ``now`` that were not ``before``."""
    new = {*now} - {*before}
    return bool(new) if failure.version is None else failure.version in new


def one_line(text: str) -> str:
    """What a server says, without the line ends and the semicolon that it closes a list with."""
    return " ".join(text.split()).removesuffix(";")


def poll_failure(log: str, model: str) -> str:
    """What a log says last of why a model's configuration was not taken; empty if it says nothing of it."""
    name = re.escape(model)
    found = re.findall(
        rf"(?:Poll failed for model directory '{name}': |(?=ensemble {name} contains ))(.*)", log
    )
    return one_line(found[-1].removesuffix('"').replace("\\n", " ")) if found else ""
