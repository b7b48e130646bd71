"""A method of the zoo as an ONNX graph: the bytes of face crops in, the clipped ages out."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout

import torch
from torch import Tensor, nn

from ssr_bundle.contract import IMAGE_SIZE, Interface
from ssr_ops.export import ExportError
from ssr_train.zoo.system import System

OPSET, IR_VERSION = 18, 8
"""The operator set that torch's exporter writes, and the oldest file format that knows it: ONNX Runtime reads
it from 1.14 on, TensorRT from 8.6."""


class Answering(nn.Module):
    """``system`` on what a server is sent: bytes (N, 64, 64, 3) in BGR to clipped ages (N, 1)."""

    def __init__(self, system: System, clip: tuple[float, float]) -> None:
        super().__init__()
        self.system, self.clip = system, clip
        self.dtype = next(system.parameters()).dtype

    def forward(self, image: Tensor) -> Tensor:
        ages = self.system.predict(image.permute(0, 3, 1, 2).to(self.dtype))
        return ages.clamp(*self.clip).unsqueeze(1)


def build_graph(system: System, interface: Interface, metadata: Mapping[str, str]) -> bytes:
    """The serialized graph of a trained ``system``: uint8 (n, 64, 64, 3) to float32 (n, 1), any n.

    Tensors are named as ``interface`` says; ``metadata`` is what the graph says of itself. Raises
    :class:`ExportError` where the exporter is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (what torch exports with)
    except ImportError as error:
        raise ExportError(f"{error.name} is not installed: pip install 'ssr-serve[train]'") from None
    image, output = interface.input, interface.output
    two = torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)  # one picture would be a constant
    with _quiet():
        program = torch.onnx.export(
            Answering(system.eval(), output.clip),
            (two,),
            input_names=[image.name],
            output_names=[output.name],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "ssr-train export", ""
    del model.metadata_props[:]
    for node in model.graph.node:  # where in torch each is from: newer than the format, and long
        del node.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    model.doc_string = (
        f"{system.description.title}: face crops, {image.colour} order, 0..255, to {output.name} in "
        f"{output.unit}, clipped to {output.clip[0]:g}..{output.clip[1]:g}."
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of torchvision, which is not used, and of what it does itself."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
