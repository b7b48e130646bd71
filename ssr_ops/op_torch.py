"""The fused operator on torch tensors: autograd, devices, and the form that ``torch.compile`` traces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from ssr_bundle.errors import SsrError
from ssr_ops.native import Constants, call, check_shapes, native, shape_of

_NATIVE = {
    torch.float32: (native.regress_float, native.regress_backward_float),
    torch.float64: (native.regress_double, native.regress_backward_double),
}
_HALF = (torch.float16, torch.bfloat16)
_PLAIN = (Tensor, torch.nn.Parameter)


def soft_stagewise_regression(p: Tensor, eta: Any, delta: Any, constants: Constants) -> Tensor:
    """:func:`ssr_ops.soft_stagewise_regression` once ``p`` is known to be a tensor."""
    dtype, device = p.dtype, p.device
    if not (isinstance(eta, Tensor) and isinstance(delta, Tensor)):
        name, value = ("delta", delta) if isinstance(eta, Tensor) else ("eta", eta)
        raise TypeError(f"{name}: expected a torch tensor as p is, got {type(value).__name__}")
    if not (eta.dtype is dtype and delta.dtype is dtype):
        name, value = ("delta", delta) if eta.dtype is dtype else ("eta", eta)
        raise TypeError(f"{name}: expected dtype {dtype} as p's, got {value.dtype}")
    if not (eta.device == device and delta.device == device):
        name, value = ("delta", delta) if eta.device == device else ("eta", eta)
        raise SsrError(f"{name}: expected device {device} as p's, got {value.device}")
    if dtype not in _NATIVE:
        if dtype not in _HALF:
            raise TypeError(f"p: expected dtype float32, float64, float16 or bfloat16, got {dtype}")
        p, eta, delta = p.float(), eta.float(), delta.float()
    if torch.compiler.is_compiling() or not (
        type(p) in _PLAIN and type(eta) in _PLAIN and type(delta) in _PLAIN
    ):
        return _traced(p, eta, delta, *constants)  # type: ignore[no-any-return]
    if device.type != "cpu" and device.type != "cuda":
        raise SsrError(f"p: expected a tensor on cpu or cuda, got {device}")
    wanted = torch.is_grad_enabled() and (p.requires_grad or eta.requires_grad or delta.requires_grad)
    if wanted or forward_ad._current_level >= 0:  # which refuses forward mode by name
        return _Function.apply(p, eta, delta, constants)  # type: ignore[no-any-return, no-untyped-call]
    return _forward(p, eta, delta, constants)


def _forward(p: Tensor, eta: Tensor, delta: Tensor, constants: Constants) -> Tensor:
    shape, columns, stages = shape_of(constants)
    rows = p.shape[0] if p.ndim else 0
    if not (p.shape == eta.shape == (rows, columns) and delta.shape == (rows, stages)):
        check_shapes(p, eta, delta, columns, stages)
    p, eta, delta = _readable(p), _readable(eta), _readable(delta)
    age = torch.empty(rows, dtype=p.dtype, device=p.device)
    call(_NATIVE[p.dtype][0], shape, rows, *_matrices(p, eta, delta), age.data_ptr())
    return age


def _backward(
    grad_age: Tensor,
    p: Tensor,
    eta: Tensor,
    delta: Tensor,
    constants: Constants,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    p, eta, delta, grad_age = _readable(p), _readable(eta), _readable(delta), _readable(grad_age)
    grads = tuple(  # laid out as the inputs where those are dense, so that autograd keeps them as they are
        torch.empty_like(value) if wanted else None
        for value, wanted in zip((p, eta, delta), needed, strict=True)
    )
    call(
        _NATIVE[p.dtype][1],
        shape_of(constants)[0],
        p.shape[0],
        *_matrices(p, eta, delta),
        grad_age.data_ptr(),
        grad_age.stride(0),
        *_gradient(grads[0]),
        *_gradient(grads[1]),
        *_gradient(grads[2]),
    )
    return grads  # type: ignore[return-value]


def _gradient(grad: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if grad is None else (grad.data_ptr(), *grad.stride())


def _matrices(p: Tensor, eta: Tensor, delta: Tensor) -> tuple[int, ...]:
    """As the native functions take them: device number (-1: CPU), stream, addresses and strides."""
    device, stream = -1, 0
    if p.is_cuda:
        if not native.built_with_cuda:
            raise SsrError("this build of the native core has no CUDA; build it with -DSSR_CUDA=ON")
        device, stream = p.device.index, torch.cuda.current_stream(p.device).cuda_stream
    inputs = (p.data_ptr(), *p.stride(), eta.data_ptr(), *eta.stride(), delta.data_ptr(), *delta.stride())
    return device, stream, *inputs


def _readable(value: Tensor) -> Tensor:
    """Plain memory: negation that is only marked is carried out, other layouts are refused."""
    if value.layout is not torch.strided:
        raise SsrError(f"expected a dense tensor, got layout {value.layout}")
    return value.resolve_neg() if value.is_neg() else value


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, eta: Tensor, delta: Tensor, constants: Constants) -> Tensor:
        ctx.save_for_backward(p, eta, delta)
        ctx.constants = constants
        return _forward(p, eta, delta, constants)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_age: Tensor) -> Any:
        p, eta, delta = ctx.saved_tensors
        grads = _backward(grad_age, p, eta, delta, ctx.constants, ctx.needs_input_grad[:3])
        return *grads, None


# What torch.compile and fake tensors see. Eager calls do not pass here: the dispatcher's way to a
# Python operator costs several times the autograd function's.
_INPUTS = (
    "Tensor p, Tensor eta, Tensor delta, SymInt[] stages, "
    "float value_range, float lambda_index, float lambda_width, float denominator_floor"
)


@torch.library.custom_op(
    "ssr_ops::soft_stagewise_regression", mutates_args=(), schema=f"({_INPUTS}) -> Tensor"
)
def _traced(p: Tensor, eta: Tensor, delta: Tensor, stages: list[int], *numbers: float) -> Tensor:
    return _forward(p, eta, delta, (tuple(stages), *numbers))  # type: ignore[arg-type]


@_traced.register_fake
def _(p: Tensor, eta: Tensor, delta: Tensor, stages: list[int], *numbers: float) -> Tensor:
    check_shapes(p, eta, delta, sum(stages), len(stages))
    return p.new_empty(p.shape[0])


@torch.library.custom_op(
    "ssr_ops::soft_stagewise_regression_backward",
    mutates_args=(),
    schema=f"(Tensor grad_age, {_INPUTS}) -> (Tensor, Tensor, Tensor)",
)
def _traced_backward(grad_age: Tensor, p: Tensor, eta: Tensor, delta: Tensor, *constants: Any) -> Any:
    stages, *numbers = constants
    return _backward(grad_age, p, eta, delta, (tuple(stages), *numbers), (True, True, True))


@_traced_backward.register_fake
def _(grad_age: Tensor, p: Tensor, eta: Tensor, delta: Tensor, *constants: Any) -> Any:
    return tuple(torch.empty_like(value) for value in (p, eta, delta))


def _setup_context(ctx: Any, inputs: Any, output: Any) -> None:
    p, eta, delta, *ctx.constants = inputs
    ctx.save_for_backward(p, eta, delta)


def _traced_autograd(ctx: Any, grad_age: Tensor) -> Any:
    return *_traced_backward(grad_age, *ctx.saved_tensors, *ctx.constants), *[None] * 5


_traced.register_autograd(_traced_autograd, setup_context=_setup_context)
