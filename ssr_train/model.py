"""SSR-Net in PyTorch (paper section 3.4 and Figure 1, with the released network's constants)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.contract import BLOCKS, Architecture


class StageOutputs(NamedTuple):
    """What the stages say: p, eta (N, sum of s_k); delta (N, K)."""

    p: Tensor
    eta: Tensor
    delta: Tensor


def initialise(module: nn.Module, fill: Callable[[Tensor], Tensor]) -> None:
    """Weights of every convolution and fully connected layer by ``fill``; zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fill(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def stored(module: nn.Module) -> dict[str, Tensor]:
    """The state dict less batch norm's step counters, on which no answer depends."""
    return {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}


class ConvBlock(nn.Module):
    """Valid 3x3 convolution, batch norm, activation (before the 2x2 pool)."""

    def __init__(self, channels: int, width: int, epsilon: float, activation: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3)
        self.norm = nn.BatchNorm2d(width, eps=epsilon, momentum=0.01)  # Keras: momentum 0.99
        self.activation = activation

    def forward(self, v: Tensor) -> Tensor:
        result: Tensor = self.activation(self.norm(self.conv(v)))
        return result


class Stage(nn.Module):
    """Fusion block with its prediction block (paper Figure 1b): two streams' features to p, eta, delta."""

    def __init__(self, architecture: Architecture, k: int, dropout: float) -> None:
        super().__init__()
        a, bins, features = architecture, architecture.stages[k], architecture.features(k)
        pool = a.taps[k].pool
        self.fuse_x = nn.Conv2d(a.width_x, a.width_fusion, 1)
        self.fuse_s = nn.Conv2d(a.width_s, a.width_fusion, 1)
        self.pool_x: nn.Module = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.pool_s: nn.Module = nn.MaxPool2d(pool) if pool > 1 else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.delta = nn.Linear(features, 1)
        self.bins_x = nn.Linear(features, bins)
        self.bins_s = nn.Linear(features, bins)
        self.mix = nn.Linear(bins, 2 * bins)
        self.p = nn.Linear(2 * bins, bins)
        self.eta = nn.Linear(2 * bins, bins)

    def forward(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Features are flattened in HWC order, as the released head weights expect.
        fx = self.pool_x(self.fuse_x(x).relu()).permute(0, 2, 3, 1).flatten(1)
        fs = self.pool_s(self.fuse_s(s).relu()).permute(0, 2, 3, 1).flatten(1)
        if torch.is_autocast_enabled(fx.device.type):  # half types would round an age of 70 to half a year
            with torch.autocast(fx.device.type, enabled=False):
                return self.predict(fx.float(), fs.float())
        return self.predict(fx, fs)

    def predict(self, fx: Tensor, fs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The prediction block on the features of the two streams, (N, F) each."""
        delta = self.delta(fs * fx).tanh()
        mixed = self.bins_s(self.dropout(fs)).relu() * self.bins_x(self.dropout(fx)).relu()
        mixed = self.mix(mixed).relu()
        return self.p(mixed).relu(), self.eta(mixed).tanh(), delta


class SSRNet(nn.Module):
    """Two streams, K stages, soft stagewise regression.

    ``forward``: float (N, 3, 64, 64), 0..255 in the contract's colour order, to (N, 1), unclipped.
    ``forward_stages`` gives what the stages say. Parameter names are those of the bundle.
    """

    def __init__(self, architecture: Architecture | None = None, dropout: float = 0.2) -> None:
        super().__init__()
        self.architecture = a = architecture or Architecture()

        def stream(width: int, activation: type[nn.Module]) -> nn.ModuleList:
            return nn.ModuleList(
                ConvBlock(3 if i == 0 else width, width, a.batch_norm_epsilon, activation())
                for i in range(BLOCKS)
            )

        self.x = stream(a.width_x, nn.ReLU)
        self.s = stream(a.width_s, nn.Tanh)
        self.average = nn.AvgPool2d(2)
        self.maximum = nn.MaxPool2d(2)
        self.stages = nn.ModuleList(Stage(a, k, dropout) for k in range(len(a.stages)))
        initialise(self, nn.init.xavier_uniform_)  # as the original Keras network

    def forward_stages(self, images: Tensor) -> StageOutputs:
        x = s = images
        levels = []
        for i, (block_x, block_s) in enumerate(zip(self.x, self.s, strict=True)):
            assert isinstance(block_s, ConvBlock)
            x, s = block_x(x), block_s.norm(block_s.conv(s))
            if i < BLOCKS - 1:
                x, s = self.average(x), self.maximum(s)
            s = block_s.activation(s)  # tanh is monotone: after the pool it gives the same from a quarter
            levels.append((x, s))
        outputs = [
            stage(*levels[tap.level - 1])
            for stage, tap in zip(self.stages, self.architecture.taps, strict=True)
        ]
        return StageOutputs(*(torch.cat(parts, dim=1) for parts in zip(*outputs, strict=True)))

    def forward(self, images: Tensor) -> Tensor:
        a = self.architecture
        tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if tracing or torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
            age = expression(*self.forward_stages(images), architecture=a)
        else:
            from ssr_ops import soft_stagewise_regression

            age = soft_stagewise_regression(
                *self.forward_stages(images),
                stages=a.stages,
                value_range=a.value_range,
                lambda_index=a.lambda_index,
                lambda_width=a.lambda_width,
                denominator_floor=a.denominator_floor,
            )
        return age.unsqueeze(1)

    def parameters_by_name(self) -> dict[str, Tensor]:
        """The arrays a bundle stores, on the CPU."""
        return {name: value.detach().cpu() for name, value in stored(self).items()}

    def load_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`parameters_by_name`; names must match exactly."""
        counters = {k: v for k, v in self.state_dict().items() if k.endswith("num_batches_tracked")}
        self.load_state_dict({**parameters, **counters}, strict=True)


def expression(p: Tensor, eta: Tensor, delta: Tensor, architecture: Architecture) -> Tensor:
    """Equation 7 in plain torch operators: what is exported, and what the fused operator is timed against.

    p, eta: (N, sum of s_k); delta: (N, K). Returns (N,), unclipped.
    """
    a = architecture
    widths = (1 + a.lambda_width * delta).clamp_min(a.denominator_floor)
    age = torch.zeros_like(delta[:, 0])
    bins = torch.ones_like(age)
    begin = 0
    for k, s in enumerate(a.stages):
        index = torch.arange(s, dtype=p.dtype, device=p.device)
        bins = bins * (s * widths[:, k])
        part = p[:, begin : begin + s] * (index + a.lambda_index * eta[:, begin : begin + s])
        age = age + part.sum(1) / bins
        begin += s
    return a.value_range * age


def load_model(bundle: Bundle | str | os.PathLike[str]) -> SSRNet:
    """The network as a torch module in eval mode: float (N, 3, 64, 64), 0..255, to (N, 1), unclipped."""
    opened = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
    model = SSRNet(opened.contract.architecture)
    model.load_parameters({k: torch.from_numpy(v.copy()) for k, v in opened.parameters().items()})
    return model.eval()
