"""Layers whose result does not depend on how a batch is shared between processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from ssr_train.training.processes import Processes


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the whole batch of all processes, by two differentiable sums.

    torch's ``SyncBatchNorm`` refuses tensors on the CPU; on GPUs it is the one that is used.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        shape, axes = (1, -1, 1, 1), (0, 2, 3)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        count = total(values.new_tensor(values.numel() / values.shape[1]))
        mean = total(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = total(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)


class SharedDropout(nn.Dropout):
    """Draws the mask of the whole batch, as one process would, and applies its own part.

    Every process must start the step with the same seed.
    """

    def __init__(self, p: float, processes: Processes) -> None:
        super().__init__(p)
        self.processes = processes

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        size = len(input) * self.processes.count
        mask = F.dropout(input.new_ones(size, *input.shape[1:]), self.p)
        return input * mask[self.processes.share(size)]


def synchronise(system: nn.Module, processes: Processes, device: torch.device) -> None:
    """Replace what mixes or draws over a batch in ``system``; names in the state dict stay."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(system)  # type: ignore[no-untyped-call]
    for module in list(system.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                made = SharedBatchNorm(child.num_features, child.eps, child.momentum)
                made.to(child.weight).load_state_dict(child.state_dict())
                setattr(module, name, made.train(child.training))
            elif type(child) is nn.Dropout:
                setattr(module, name, SharedDropout(child.p, processes))


class _Total(torch.autograd.Function):
    """The sum of every process's tensor; the gradient of a share is the sum of all gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        summed = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


def total(values: Tensor) -> Tensor:
    """``values`` summed over all processes, differentiable."""
    summed: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]
    return summed
