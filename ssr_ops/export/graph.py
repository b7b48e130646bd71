"""An ONNX graph while it grows: every node and its tensor carry one name, so that a viewer reads well."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
"""The newest operator set that every runtime in reach knows: ONNX Runtime from 1.12, TensorRT from 8.6 to 11
and RTX, OpenVINO. Nothing here needs a newer one."""

IR_VERSION = 8
"""The file format that belongs to opset 17; older runtimes refuse newer formats whatever the operators."""


class Graph:
    """Nodes and constants in the order they are added, which is the order of execution."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: Any) -> str:
        """Store an array under ``name``; the same name twice must be the same array."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name)
        if self._constants.setdefault(name, tensor) != tensor:
            raise ValueError(f"constant {name} is there already, with other values")
        return name

    def node(self, operator: str, inputs: list[str], name: str, doc: str = "", **attributes: Any) -> str:
        """Add a node named as the one tensor that it gives; returns that name."""
        self._nodes.append(
            helper.make_node(operator, inputs, [name], name=name, doc_string=doc or None, **attributes)
        )
        return name

    def names(self) -> list[str]:
        """Of every constant and node; in a graph that is valid each occurs once."""
        return [*self._constants, *(node.name for node in self._nodes)]

    def finish(
        self,
        name: str,
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
        doc: str,
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """The checked model, the shape of every tensor filled in."""
        graph = helper.make_graph(
            self._nodes, name, inputs, outputs, list(self._constants.values()), doc_string=doc
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="ssr-train export",
            doc_string=doc,
        )
        helper.set_model_props(model, metadata)
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model


def tensor(name: str, dtype: int, *shape: int, doc: str = "") -> onnx.ValueInfoProto:
    """An input or output (n, *shape), n free."""
    return helper.make_tensor_value_info(name, dtype, ["n", *shape], doc_string=doc)


FLOAT, HALF, BYTE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8

Array = NDArray[Any]
