"""The bundle's network for the peers: plain PyTorch operators, and the ONNX file made from them."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from peers.contestant import Material
from ssr_bundle.contract import BLOCKS
from ssr_train.model import StageOutputs, expression, load_model

ORDERS = ("as exported", "pools first")
"""The network as torch exports it, or with each max-pool moved before its tanh: the same answers (tanh is
monotone) with a quarter of the tanh work. Our engine and ``ssr-train export`` do so; a runtime that is not
told cannot know, so the peers are handed both and keep the quicker."""


class Network(nn.Module):
    """Float (N, 3, 64, 64) to unclipped answers (N, 1), in eval mode, no operator of ours in it."""

    def __init__(self, material: Material, order: str = ORDERS[0]) -> None:
        super().__init__()
        self.network = load_model(material.bundle)
        self.pools_first = order == ORDERS[1]
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        net = self.network
        stages = self._pools_first(images) if self.pools_first else net.forward_stages(images)
        return expression(*stages, architecture=net.architecture).unsqueeze(1)

    def _pools_first(self, images: Tensor) -> StageOutputs:
        net = self.network
        x = s = images
        levels = []
        for i, (block_x, block_s) in enumerate(zip(net.x, net.s, strict=True)):
            x, s = block_x(x), block_s.norm(block_s.conv(s))
            if i < BLOCKS - 1:
                x, s = net.average(x), net.maximum(s)
            s = s.tanh()
            levels.append((x, s))
        taps = net.architecture.taps
        outputs = [stage(*levels[tap.level - 1]) for stage, tap in zip(net.stages, taps, strict=True)]
        return StageOutputs(*(torch.cat(parts, dim=1) for parts in zip(*outputs, strict=True)))


class Interleaved(nn.Module):
    """The network for float (N, 64, 64, 3)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.network(images.permute(0, 3, 1, 2))
        return answers


def onnx_file(material: Material, order: str) -> Path:
    """``order`` of the network as ONNX: ``image`` float (n, 3, 64, 64) to ``age`` (n, 1), n free."""
    path = material.folder / f"{order.replace(' ', '-')}.onnx"
    if not path.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Network(material, order),
                (torch.zeros(2, 3, 64, 64),),
                path,
                dynamo=False,
                input_names=["image"],
                output_names=["age"],
                dynamic_axes={"image": {0: "n"}, "age": {0: "n"}},
            )
    return path
