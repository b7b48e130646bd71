"""What a server has loaded, as against what it was told to load: somebody else may have told it otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_repo.control import Control, ControlError, Unreachable


@dataclass(frozen=True)
class Loaded:
    """A look at a server.

    ``versions``: those ready, by model, newest first. ``configurations``: what each ready model is served
    with. ``counts``: crops that each version has answered since it was loaded. Empty where the server does
    not tell.
    """

    versions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    configurations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counts: Mapping[tuple[str, int], int] = field(default_factory=dict)

    @classmethod
    def look(cls, control: Control) -> Loaded:
        """Raises :class:`ControlError`; costs a request a model and two more, a millisecond each."""
        ready: dict[str, list[int]] = {}
        for state in control.index():
            if state.ready and state.version is not None:
                ready.setdefault(state.model, []).append(state.version)
        counts: Mapping[tuple[str, int], int] = {}
        configurations = {}
        try:
            counts = control.counts()
        except Unreachable:
            raise
        except ControlError:  # its statistics are closed to us
            pass
        for model in ready:
            try:
                configurations[model] = control.config(model)
            except Unreachable:
                raise
            except ControlError:  # unloaded since, or closed to us
                pass
        versions = {model: tuple(sorted(found, reverse=True)) for model, found in sorted(ready.items())}
        return cls(versions, configurations, counts)

    @property
    def models(self) -> set[str]:
        """Those that answer; one that lies in no repository is missing in the server's index."""
        return {*self.versions, *(model for model, _ in self.counts)}

    def strayed(self, now: Loaded, wanted: Mapping[str, Collection[int]]) -> dict[str, str]:
        """What happened meanwhile to models, those ``wanted`` and others, if anything did.

        A version that was not ready in this look, or is not wanted any more, is not missed.
        """
        told = {}
        for model in sorted(self.models & now.models - set(wanted)):  # seen twice: it is not just going
            told[model] = "was loaded by somebody else"
        for model, versions in wanted.items():
            if what := self._what_happened(model, versions, now):
                told[model] = f"{what} by somebody else"
        return told

    def _what_happened(self, model: str, wanted: Collection[int], now: Loaded) -> str:
        expected = [v for v in self.versions.get(model, ()) if v in wanted]
        if missing := [v for v in expected if v not in now.versions.get(model, ())]:
            return f"version {', '.join(map(str, missing))} was unloaded"
        then, today = self.configurations.get(model), now.configurations.get(model)
        if then is not None and today is not None and then != today:
            return "was loaded with another configuration"
        if any(
            now.counts.get((model, v), 0) < self.counts.get((model, v), 0) for v in expected if now.counts
        ):
            return "was loaded anew"
        return ""

    def settled(self, before: Loaded, repaired: Collection[str]) -> Loaded:
        """This look, to compare later ones with. Of models ``repaired``, what was ready ``before`` is still
        expected; a configuration that could not be seen this time is taken from there."""
        versions = dict(self.versions)
        for model in repaired:
            both = {*versions.get(model, ()), *before.versions.get(model, ())}
            versions[model] = tuple(sorted(both, reverse=True))
        return Loaded(versions, {**before.configurations, **self.configurations}, self.counts)
