"""The layer report: what the builder made of the graph, kernel by kernel.

The engine inspector gives it as JSON where the engine can be opened, which needs a GPU. Without one, the
builder prints the same list while it builds (detailed profiling verbosity); both are read here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_SCHEDULING = {"signal", "wait", "shape_call"}
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_TYPE = re.compile(r"Datatype: (\w+)")
_LINE = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: (?P<inputs>.*?)(?:, Constants: .*?)?"
    r", Outputs: (?P<outputs>.*?), TacticName: .*?, Metadata: (?P<metadata>.*)"
)


@dataclass(frozen=True)
class Layer:
    """One step of an engine. ``types``: element types in and out. ``nodes``: the ONNX nodes fused into it."""

    name: str
    kind: str
    types: tuple[str, ...]
    nodes: tuple[str, ...]

    @property
    def launches(self) -> bool:
        """Whether it runs a kernel; signals and waits between streams do not."""
        return self.kind.lower() not in _SCHEDULING

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Layer:
        return cls(str(data["name"]), str(data["kind"]), tuple(data["types"]), tuple(data["nodes"]))


def from_log(text: str) -> tuple[Layer, ...]:
    """Layers of the builder's own listing (its message that begins with ``Layers:``)."""
    layers = []
    for line in text.splitlines():
        if found := _LINE.match(line):
            types = _TYPE.findall(found["inputs"] + found["outputs"])
            layers.append(_layer(found["name"], found["kind"], types, found["metadata"]))
    return tuple(layers)


def from_inspector(text: str) -> tuple[Layer, ...]:
    """Layers of ``EngineInspector.get_engine_information`` in JSON; bare names where it gives no more."""
    layers = []
    for entry in json.loads(text).get("Layers", []):
        if isinstance(entry, str):
            layers.append(Layer(entry, "", (), ()))
            continue
        tensors = [*entry.get("Inputs", []), *entry.get("Outputs", [])]
        types = [str(t.get("Datatype") or t.get("Format/Datatype") or "") for t in tensors]
        metadata = str(entry.get("Metadata", ""))
        layers.append(_layer(str(entry.get("Name", "")), str(entry.get("LayerType", "")), types, metadata))
    return tuple(layers)


def _layer(name: str, kind: str, types: Iterable[str], metadata: str) -> Layer:
    distinct = tuple(dict.fromkeys(filter(None, types)))
    return Layer(name, kind, distinct, tuple(sorted(_NODE.findall(metadata))))
