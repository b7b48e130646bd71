"""The fused operator against the float64 reference, the eager expression, and bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tolerances import operator_scale, operator_tolerance

from ssr_bundle.contract import Architecture
from ssr_bundle.errors import SsrError
from ssr_ops import reference
from ssr_ops.native import MAX_STAGES, native
from ssr_ops.op import implementation, implementations, soft_stagewise_regression

torch = pytest.importorskip("torch", reason="torch is not installed")
from ssr_train.model import SSRNet, expression  # noqa: E402

Rows = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
SHAPES: list[tuple[int, ...]] = [
    (3, 3, 3),
    (1,),
    (5,),
    (2, 4),
    (3, 3),
    (3, 3, 3, 3),
    (7, 1, 2, 3, 4),
    (2,) * 16,
]
ROWS = (0, 1, 15, 16, 17, 65)
DTYPES = (np.float32, np.float64)
FLOOR = 1e-3


@pytest.fixture(params=implementations())
def forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every implementation of this machine in turn; the core reads the variable at each call."""
    name: str = request.param
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", name)
    assert implementation() == name
    return name


def random_rows(n: int, stages: Sequence[int], dtype: Any = np.float64, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    p = rng.gamma(0.7, 0.4, (n, sum(stages)))
    eta = np.tanh(rng.normal(0, 1, p.shape))
    delta = np.tanh(rng.normal(0, 0.8, (n, len(stages))))
    return p.astype(dtype), eta.astype(dtype), delta.astype(dtype)


def assert_agrees(rows: Rows, stages: Sequence[int], age: NDArray[Any], *numbers: float) -> None:
    """Within the table's bound of the reference on the very same (rounded) inputs."""
    numbers = numbers or (101.0,)
    exact = reference.soft_stagewise_regression(*rows, stages, *numbers)
    bound = operator_tolerance(implementation(), rows[0].dtype) * operator_scale(*rows, stages, *numbers)
    assert age.dtype == rows[0].dtype
    assert age.shape == exact.shape
    worst = np.abs(age - exact) - bound
    assert (worst <= 0).all(), f"row {worst.argmax()}: {age[worst.argmax()]} against {exact[worst.argmax()]}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stages", SHAPES, ids=str)
@pytest.mark.parametrize("n", ROWS)
def test_agrees_with_reference(forced: str, n: int, stages: tuple[int, ...], dtype: Any) -> None:
    rows = random_rows(n, stages, dtype, seed=n)
    assert_agrees(rows, stages, soft_stagewise_regression(*rows, stages, 101.0))
    tensors = [torch.from_numpy(x) for x in rows]
    assert_agrees(rows, stages, soft_stagewise_regression(*tensors, stages, 101.0).numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "numbers", [(1.0, 0.0, 0.0), (50.0, 0.5, 0.99), (101.0, 1.0, 0.9, 0.25), (-3.0, 2.0)]
)
def test_constants(forced: str, numbers: tuple[float, ...], dtype: Any) -> None:
    rows = random_rows(200, (3, 3, 3), dtype)
    rows[2][:100] = np.nextafter(rows[2].dtype.type(-1), rows[2].dtype.type(0))  # widths nearly cancel
    assert_agrees(rows, (3, 3, 3), soft_stagewise_regression(*rows, (3, 3, 3), *numbers), *numbers)


def adversarial_rows(dtype: Any, stages: tuple[int, ...]) -> Rows:
    """Each stage in turn at, below and above the floor; huge, denormal and zero values."""
    one = np.float32(1)
    deltas = [
        -1.0,
        -1.0 + FLOOR,
        np.nextafter(dtype(-1.0 + FLOOR), dtype(-2)),
        np.nextafter(dtype(-1.0 + FLOOR), dtype(2)),
        -1.0 + FLOOR / 2,
        float(one + np.tanh(np.float32(-20))) - 1.0,  # float32 rounds 1 + tanh(-20) to 0
        -1.5,
        1.0,
        1e20,
        np.finfo(dtype).tiny,
        5e-324 if dtype is np.float64 else 1e-45,
    ]
    values = [0.0, 1e-45, 1e-38, 1.0, 1e10, 1e25, -1e10]
    count = len(deltas) * len(stages) + len(values)
    p, eta, delta = random_rows(count, stages, dtype)
    for i, value in enumerate(deltas):
        for k in range(len(stages)):
            delta[i * len(stages) + k, k] = value
    for i, value in enumerate(values):
        p[len(deltas) * len(stages) + i] = value
    delta[0] = -1.0
    return p, eta, delta


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stages", [(3, 3, 3), (4, 2)], ids=str)
def test_adversarial_inputs(forced: str, stages: tuple[int, ...], dtype: Any) -> None:
    rows = adversarial_rows(dtype, stages)
    age = soft_stagewise_regression(*rows, stages, 101.0)
    assert np.isfinite(age).all()
    assert_agrees(rows, stages, age)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_in_their_row(forced: str, which: int, value: float, dtype: Any) -> None:
    rows = random_rows(40, (3, 3, 3), dtype)
    clean = soft_stagewise_regression(*rows, (3, 3, 3), 101.0)
    rows[which][17, -1] = value
    age = soft_stagewise_regression(*rows, (3, 3, 3), 101.0)
    if np.isnan(value):
        assert np.isnan(age[17])
    elif which < 2:
        assert np.isinf(age[17])
    else:
        assert_agrees(rows, (3, 3, 3), age)  # an infinite width: the stage adds nothing
    others = np.arange(40) != 17
    assert np.array_equal(age[others], clean[others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stages", [(3, 3, 3), (2, 5)], ids=str)
def test_bits_do_not_depend_on_the_batch(forced: str, stages: tuple[int, ...], dtype: Any) -> None:
    rows = random_rows(65, stages, dtype)
    whole = soft_stagewise_regression(*rows, stages, 101.0)
    gradients = native_gradients(rows, stages)
    for begin, end in [(0, 1), (3, 4), (0, 15), (1, 17), (7, 40), (64, 65)]:
        part = (rows[0][begin:end], rows[1][begin:end], rows[2][begin:end])
        assert np.array_equal(soft_stagewise_regression(*part, stages, 101.0), whole[begin:end])
        for got, wanted in zip(native_gradients(part, stages), gradients, strict=True):
            assert np.array_equal(got, wanted[begin:end])


def native_gradients(rows: Rows, stages: Sequence[int], *numbers: float) -> list[NDArray[Any]]:
    leaves = [torch.tensor(x, requires_grad=True) for x in rows]
    age = soft_stagewise_regression(*leaves, stages, *(numbers or (101.0,)))
    return [g.numpy() for g in torch.autograd.grad(age.sum(), leaves)]


def layouts(x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The same values, laid out in memory in every way the kernel must read in place."""
    n, columns = x.shape
    wide = np.full((2 * n + 1, 3 * columns + 1), np.nan, x.dtype)
    wide[1::2, 1::3] = x
    bytes_ = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = np.frombuffer(bytes_.data, x.dtype, x.size, offset=1).reshape(x.shape)
    np.copyto(unaligned, x)
    record = np.zeros(n, np.dtype([("skip", np.uint8), ("x", x.dtype, (columns,))], align=False))
    record["x"] = x
    return {
        "contiguous": x.copy(),
        "strided": wide[1::2, 1::3],
        "transposed": np.asfortranarray(x),
        "backwards": x[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": unaligned,
        "packed record": record["x"],
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stages", [(3, 3, 3), (2, 5)], ids=str)
def test_memory_layouts_give_the_same_bits(forced: str, stages: tuple[int, ...], dtype: Any) -> None:
    rows = random_rows(37, stages, dtype)
    expected = soft_stagewise_regression(*rows, stages, 101.0)
    p, eta, delta = (layouts(x) for x in rows)
    for name in p:
        assert np.array_equal(
            soft_stagewise_regression(p[name], eta[name], delta[name], stages, 101.0), expected
        )
        age = soft_stagewise_regression(p[name], eta["contiguous"], delta["transposed"], stages, 101.0)
        assert np.array_equal(age, expected), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stages", [(3, 3, 3), (2, 5)], ids=str)
def test_expanded_and_strided_tensors(forced: str, stages: tuple[int, ...], dtype: Any) -> None:
    one = [torch.from_numpy(x).to(dtype) for x in random_rows(1, stages)]
    n, numbers = 21, (stages, 101.0)
    expected = soft_stagewise_regression(*one, *numbers).expand(n)
    assert torch.equal(soft_stagewise_regression(*(x.expand(n, -1) for x in one), *numbers), expected)
    leaves = [x.clone().requires_grad_() for x in one]
    age = soft_stagewise_regression(*(x.expand(n, -1) for x in leaves), *numbers)
    grads = torch.autograd.grad(age, leaves, torch.ones(1, dtype=dtype).expand(n))
    single = torch.autograd.grad(
        soft_stagewise_regression(*leaves, *numbers), leaves, torch.ones(1, dtype=dtype)
    )
    for got, wanted in zip(grads, single, strict=True):
        torch.testing.assert_close(got, n * wanted)
    # a seed of every other element, and leaves that are columns of one matrix
    matrix = torch.cat(one, 1).repeat(n, 1).requires_grad_()
    parts = matrix.split([x.shape[1] for x in one], dim=1)
    seed = torch.arange(2.0 * n, dtype=dtype)[::2]
    (grad,) = torch.autograd.grad(soft_stagewise_regression(*parts, *numbers), matrix, seed)
    torch.testing.assert_close(grad, seed[:, None] * torch.cat(single, 1))


def test_gradients_are_laid_out_as_the_inputs(forced: str) -> None:
    rows = random_rows(37, (3, 3, 3), np.float32)
    expected = native_gradients(rows, (3, 3, 3))
    leaves = [torch.from_numpy(np.asfortranarray(x)).requires_grad_() for x in rows]
    soft_stagewise_regression(*leaves, (3, 3, 3), 101.0).sum().backward()
    for leaf, wanted in zip(leaves, expected, strict=True):
        assert leaf.grad.stride() == leaf.stride()
        assert np.array_equal(leaf.grad.numpy(), wanted)


def test_negative_view_is_read_with_its_sign() -> None:
    p, eta, delta = (torch.from_numpy(x) for x in random_rows(5, (3, 3, 3)))
    marked = torch.complex(p, -eta).conj().imag  # eta with PyTorch's lazy negation
    assert marked.is_neg()
    expected = soft_stagewise_regression(p, eta, delta, (3, 3, 3), 101.0)
    assert torch.equal(soft_stagewise_regression(p, marked, delta, (3, 3, 3), 101.0), expected)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_stages_strides_and_dtypes(data: st.DataObject) -> None:
    stages = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=MAX_STAGES), label="stages"))
    dtype = data.draw(st.sampled_from(DTYPES), label="dtype")
    n = data.draw(st.integers(0, 40), label="rows")
    rows = random_rows(n, stages, dtype, seed=data.draw(st.integers(0, 2**32 - 1), label="seed"))
    if data.draw(st.booleans(), label="at the floor"):
        rows[2][rows[2] < -0.3] = -1.0
    chosen = [data.draw(st.sampled_from(list(layouts(x).values())), label="layout") if n else x for x in rows]
    numbers = (
        data.draw(st.sampled_from([1.0, 101.0])),
        *data.draw(st.sampled_from([(1.0, 1.0), (0.3, 0.7)])),
    )
    age = soft_stagewise_regression(chosen[0], chosen[1], chosen[2], stages, *numbers)
    assert_agrees(rows, stages, age, *numbers)


@pytest.mark.parametrize("stages", [(3, 3, 3), (1,), (2, 4), (5, 3, 2, 2, 1)], ids=str)
def test_gradcheck_on_the_kernel(forced: str, stages: tuple[int, ...]) -> None:
    p, eta, delta = (torch.from_numpy(x) for x in random_rows(9, stages))
    delta[0, 0] = -0.95  # below the floor of 0.1: a zero gradient on both sides
    leaves = [x.requires_grad_() for x in (p, eta, delta)]
    assert torch.autograd.gradcheck(
        lambda *x: soft_stagewise_regression(*x, stages, 10.0, 0.8, 0.9 if len(stages) < 3 else 1.0, 0.1),
        leaves,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stages", [(3, 3, 3), (2, 4)], ids=str)
def test_gradient_agrees_with_the_eager_expression(forced: str, stages: tuple[int, ...], dtype: Any) -> None:
    rows = random_rows(65, stages, dtype)
    rows[2][:8] = [-1.0] * len(stages)
    architecture = Architecture(stages=stages)
    leaves = [torch.tensor(x.astype(np.float64), requires_grad=True) for x in rows]
    expected = torch.autograd.grad(expression(*leaves, architecture).sum(), leaves)
    rtol = 1e-5 if dtype is np.float32 else 1e-12
    for got, wanted in zip(native_gradients(rows, stages), expected, strict=True):
        scale = wanted.abs().amax(1, keepdim=True).numpy()  # a row's gradients share their denominators
        assert (np.abs(got - wanted.numpy()) <= rtol * scale).all()
    assert (native_gradients(rows, stages)[2][:8] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stages", [(3, 3, 3), (2,)], ids=str)
def test_gradient_at_the_floor_is_that_of_clamp_min(forced: str, stages: tuple[int, ...], dtype: Any) -> None:
    """Zero strictly below, passed on at equality; a floor and widths that binary fractions hold exactly."""
    floor = 2.0**-10
    architecture = Architecture(stages=stages, denominator_floor=floor)
    below, at, above = floor - 2.0**-23, floor, floor + 2.0**-23
    p = torch.ones(3, sum(stages), dtype=dtype)
    eta = torch.zeros_like(p)
    delta = torch.zeros(3, len(stages), dtype=dtype)
    delta[:, 0] = torch.tensor([below, at, above], dtype=torch.float64).to(dtype) - 1
    leaves = [p, eta, delta.requires_grad_()]
    age = soft_stagewise_regression(*leaves, stages, 101.0, denominator_floor=floor)
    (got,) = torch.autograd.grad(age.sum(), delta)
    (wanted,) = torch.autograd.grad(expression(*leaves, architecture).sum(), delta)
    assert got[0, 0] == 0
    assert got[1, 0] < 0
    assert got[2, 0] < 0
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=0)


def test_only_wanted_gradients_are_computed() -> None:
    p, eta, delta = (torch.from_numpy(x) for x in random_rows(20, (3, 3, 3), np.float32))
    delta.requires_grad_()
    soft_stagewise_regression(p, eta, delta, (3, 3, 3), 101.0).sum().backward()
    assert p.grad is None
    assert eta.grad is None
    assert delta.grad is not None
    assert np.array_equal(
        delta.grad.numpy(), native_gradients((p.numpy(), eta.numpy(), delta.detach().numpy()), (3, 3, 3))[2]
    )
    with torch.no_grad():
        assert not soft_stagewise_regression(p, eta, delta, (3, 3, 3), 101.0).requires_grad


def test_double_backward_is_refused() -> None:
    leaves = [torch.tensor(x, requires_grad=True) for x in random_rows(4, (3, 3, 3))]
    age = soft_stagewise_regression(*leaves, (3, 3, 3), 101.0)
    (grad,) = torch.autograd.grad((age**2).sum(), leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_half_types_are_upcast() -> None:
    rows = random_rows(20, (3, 3, 3), np.float16)
    single = tuple(x.astype(np.float32) for x in rows)
    expected = soft_stagewise_regression(*single, (3, 3, 3), 101.0)
    assert np.array_equal(soft_stagewise_regression(*rows, (3, 3, 3), 101.0), expected)
    for dtype in (torch.float16, torch.bfloat16):
        leaves = [torch.tensor(x, dtype=dtype, requires_grad=True) for x in rows]
        age = soft_stagewise_regression(*leaves, (3, 3, 3), 101.0)
        assert age.dtype == torch.float32
        assert all(g.dtype == dtype for g in torch.autograd.grad(age.sum(), leaves))
        if dtype == torch.float16:
            assert np.array_equal(age.detach().numpy(), expected)


def good() -> dict[str, Any]:
    p, eta, delta = random_rows(4, (3, 3, 3), np.float32)
    return {"p": p, "eta": eta, "delta": delta, "stages": (3, 3, 3), "value_range": 101.0}


@pytest.mark.parametrize("tensors", [False, True], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"p": np.zeros((4, 8), np.float32)}, SsrError, r"p: expected shape \(N, 9\), got \(4, 8\)"),
        ({"p": np.zeros((), np.float32)}, SsrError, r"p: expected shape \(N, 9\), got \(\)"),
        ({"p": np.zeros(36, np.float32)}, SsrError, r"p: expected shape"),
        ({"p": np.zeros((4, 9, 1), np.float32)}, SsrError, r"p: expected shape"),
        ({"eta": np.zeros((5, 9), np.float32)}, SsrError, r"eta: expected shape \(4, 9\), got \(5, 9\)"),
        ({"delta": np.zeros((4, 2), np.float32)}, SsrError, r"delta: expected shape \(4, 3\), got \(4, 2\)"),
        ({"delta": np.zeros((4, 3), np.float64)}, TypeError, r"delta: expected dtype .*float32 .*float64"),
        ({"eta": np.zeros((4, 9), np.int64)}, TypeError, r"eta: expected dtype .*float32 .*int64"),
        ({"stages": (3, 3)}, SsrError, r"p: expected shape \(N, 6\), got \(4, 9\)"),
        ({"stages": ()}, SsrError, r"stages: expected 1 to 16 of them, got 0"),
        ({"stages": (1,) * 17}, SsrError, r"stages: expected 1 to 16 of them, got 17"),
        ({"stages": (9, 0)}, SsrError, r"stages: expected at least 1 bin each"),
        ({"stages": (2**31, 3)}, SsrError, r"stages: expected .* at most 2\^24"),
        ({"stages": (3.5, 3, 3)}, TypeError, r"stages: expected integers"),
        ({"stages": 9}, TypeError, r"stages: expected integers"),
        ({"value_range": float("nan")}, SsrError, r"value_range: .* finite in float32, got nan"),
        ({"value_range": 1e60}, SsrError, r"value_range: .* finite in float32, got 1e\+60"),
        ({"value_range": "many"}, TypeError, r"value_range: expected a number, got 'many'"),
        ({"lambda_index": float("inf")}, SsrError, r"lambda_index: .* finite in float32, got inf"),
        ({"lambda_width": float("inf")}, SsrError, r"lambda_width: .* finite in float32, got inf"),
        ({"denominator_floor": 0.0}, SsrError, r"denominator_floor: must be at least 1e-06, got 0.0"),
        ({"denominator_floor": -1e-9}, SsrError, r"denominator_floor: must be at least 1e-06, got -1e-09"),
        ({"denominator_floor": 1e-30}, SsrError, r"denominator_floor: must be at least 1e-06, got 1e-30"),
    ],
)
def test_bad_arguments(tensors: bool, change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = good() | change
    if tensors:
        arguments = {
            k: torch.from_numpy(np.asarray(v)) if isinstance(v, np.ndarray) else v
            for k, v in arguments.items()
        }
    with pytest.raises(error, match=message):
        soft_stagewise_regression(**arguments)


def test_bad_types_and_devices() -> None:
    arrays = good()
    with pytest.raises(TypeError, match="p: expected a torch tensor or a plain NumPy array, got list"):
        soft_stagewise_regression(**(arrays | {"p": [[1.0] * 9]}))
    with pytest.raises(TypeError, match="eta: expected a plain NumPy array as p is, got Tensor"):
        soft_stagewise_regression(**(arrays | {"eta": torch.zeros(4, 9)}))
    integers = {k: arrays[k].astype(np.int32) for k in ("p", "eta", "delta")}
    with pytest.raises(TypeError, match="p: expected dtype float32, float64, float16 or bfloat16, got int32"):
        soft_stagewise_regression(**(arrays | integers))
    swapped = {k: arrays[k].astype(">f4") for k in ("p", "eta", "delta")}
    with pytest.raises(TypeError, match="got >f4"):
        soft_stagewise_regression(**(arrays | swapped))

    tensors = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arrays.items()}
    with pytest.raises(TypeError, match="delta: expected a torch tensor as p is, got ndarray"):
        soft_stagewise_regression(**(tensors | {"delta": arrays["delta"]}))
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        soft_stagewise_regression(**(tensors | {k: tensors[k].long() for k in ("p", "eta", "delta")}))
    with pytest.raises(SsrError, match="eta: expected device cpu as p's, got meta"):
        soft_stagewise_regression(**(tensors | {"eta": tensors["eta"].to("meta")}))
    with pytest.raises(SsrError, match="p: expected a tensor on cpu or cuda, got meta"):
        soft_stagewise_regression(**(tensors | {k: tensors[k].to("meta") for k in ("p", "eta", "delta")}))
    with pytest.raises(SsrError, match="expected a dense tensor, got layout"):
        soft_stagewise_regression(**(tensors | {"p": tensors["p"].to_sparse()}))


def test_forward_mode_is_refused() -> None:
    """It would lose the derivative in silence."""
    tensors = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in good().items()}
    expected = soft_stagewise_regression(**tensors)
    with torch.autograd.forward_ad.dual_level():
        assert torch.equal(soft_stagewise_regression(**tensors), expected)
        dual = torch.autograd.forward_ad.make_dual(tensors["p"], torch.ones_like(tensors["p"]))
        with pytest.raises(NotImplementedError, match="jvp"):
            soft_stagewise_regression(**(tensors | {"p": dual}))


def test_forced_implementation_in_a_fresh_process() -> None:
    """The variable decides, and the answers of a forced implementation are those of that kernel."""
    code = (
        "from ssr_ops.op import implementation, implementations; print(implementation(), *implementations())"
    )
    names = implementations()
    assert names[-1] == "portable"
    for name in ["", *names]:
        environment = {**os.environ, "SSR_FORCE_IMPLEMENTATION": name}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert run.stdout.split() == [name or names[0], *names], run.stderr


def test_unknown_implementation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", "sse9")
    message = (
        r"^SSR_FORCE_IMPLEMENTATION: implementation 'sse9' is not available here, expected one of .*portable"
    )
    with pytest.raises(SsrError, match=message):
        soft_stagewise_regression(**good())
    with pytest.raises(SsrError, match=message):
        implementation()


def test_implementations_are_different_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The portable kernel computes in double, the vector kernels in float: the last bits differ."""
    if implementations() == ["portable"]:
        pytest.skip("this machine runs the portable implementation only")
    rows = random_rows(4096, (3, 3, 3), np.float32)
    ages = []
    for name in (implementations()[0], "portable"):
        monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", name)
        ages.append(soft_stagewise_regression(*rows, (3, 3, 3), 101.0))
    assert not np.array_equal(*ages)


def test_numpy_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; sys.modules['torch'] = None\n"
        "from ssr_ops import soft_stagewise_regression as f\n"
        "x = np.ones((2, 9), np.float32)\n"
        "print(f(x, x, x[:, :3], (3, 3, 3), 27.0))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_golden_operator_rows(forced: str, released_bundle: Path) -> None:
    from ssr_bundle.bundle import read_bundle

    bundle = read_bundle(released_bundle)
    a, golden = bundle.contract.architecture, bundle.golden()
    p, eta, delta = (golden[f"operator.{name}"] for name in ("p", "eta", "delta"))
    widths = 1 + a.lambda_width * delta
    assert (widths < a.denominator_floor).any(axis=0).all(), "no row below the floor in some stage"
    low, high = bundle.contract.interface.output.clip
    assert ((golden["operator.unclipped"] < low) | (golden["operator.unclipped"] > high)).any()
    for dtype in DTYPES:
        rows = (p.astype(dtype), eta.astype(dtype), delta.astype(dtype))
        numbers = (a.value_range, a.lambda_index, a.lambda_width, a.denominator_floor)
        age = soft_stagewise_regression(*rows, a.stages, *numbers)
        assert_agrees(rows, a.stages, age, *numbers)
        if dtype is np.float64:
            np.testing.assert_allclose(age, golden["operator.unclipped"], rtol=1e-12)


@pytest.mark.parametrize("stages", [(3, 3, 3), (2, 5)], ids=str)
def test_network_trains_a_step_as_with_the_expression(
    stages: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One optimiser step through the operator ends where one through the plain expression does."""
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double() * 255
    target = torch.tensor([[20.0], [30.0], [40.0], [50.0]]).double()
    architecture, calls, steps = Architecture(stages=stages), [], []

    def plain(p: Any, eta: Any, delta: Any, **constants: Any) -> Any:
        calls.append(constants)
        return expression(p, eta, delta, architecture)

    for fused in (True, False):
        torch.manual_seed(1)
        network = SSRNet(architecture, dropout=0.0).double()
        optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
        with monkeypatch.context() as patch:
            if not fused:
                patch.setattr("ssr_ops.soft_stagewise_regression", plain)
            loss = (network(images) - target).abs().mean()
        loss.backward()
        assert all(value.grad is not None for value in network.parameters())
        optimiser.step()
        steps.append(dict(network.named_parameters()))
    assert len(calls) == 1
    for name, value in steps[0].items():
        torch.testing.assert_close(value, steps[1][name], rtol=1e-9, atol=1e-12, msg=name)


def test_torch_compile_traces_the_operator() -> None:
    def loss(p: Any, eta: Any, delta: Any) -> Any:
        return soft_stagewise_regression(p.relu(), eta.tanh(), delta.tanh(), (3, 3, 3), 101.0).square().mean()

    leaves = [torch.randn(33, c, requires_grad=True, generator=None) for c in (9, 9, 3)]
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*leaves), loss(*leaves))
    expected = torch.autograd.grad(loss(*leaves), leaves)
    for got, wanted in zip(torch.autograd.grad(compiled(*leaves), leaves), expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_library_operator_is_well_formed() -> None:
    from ssr_ops import op_torch

    leaves = [torch.tensor(x, requires_grad=True) for x in random_rows(5, (3, 3, 3))]
    torch.library.opcheck(op_torch._traced, (*leaves, [3, 3, 3], 101.0, 1.0, 1.0, 1e-3))


def test_cuda_without_a_gpu_is_a_clear_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    x, age = np.zeros((2, 9), np.float32), np.zeros(2, np.float32)
    shape = native.RegressionShape([3, 3, 3], 101.0, 1.0, 1.0, 1e-3)
    matrix = (x.ctypes.data, 9, 1)
    with pytest.raises(ValueError, match=r"CUDA"):
        native.regress_float(shape, 2, 0, 0, *matrix, *matrix, *matrix, age.ctypes.data)


@pytest.fixture
def gpu() -> Any:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device for torch here")
    if not native.built_with_cuda:
        pytest.skip("the native core was built without CUDA")
    return torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stages", SHAPES, ids=str)
@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 1000])
def test_cuda_agrees_with_reference(gpu: Any, n: int, stages: tuple[int, ...], dtype: Any) -> None:
    rows = random_rows(n, stages, dtype)
    if n > 20:
        rows[2][:20] = -1.0
    leaves = [torch.tensor(x, device=gpu, requires_grad=True) for x in rows]
    age = soft_stagewise_regression(*leaves, stages, 101.0)
    exact = reference.soft_stagewise_regression(*rows, stages, 101.0)
    bound = operator_tolerance("cuda", rows[0].dtype) * operator_scale(*rows, stages, 101.0)
    assert (np.abs(age.detach().cpu().numpy() - exact) <= bound).all()
    expected = native_gradients(tuple(x.astype(np.float64) for x in rows), stages)  # type: ignore[arg-type]
    for got, wanted in zip(torch.autograd.grad(age.sum(), leaves), expected, strict=True):
        scale = np.abs(wanted).max(axis=1, keepdims=True)
        assert (np.abs(got.cpu().numpy() - wanted) <= (1e-5 if dtype is np.float32 else 1e-12) * scale).all()


@pytest.mark.gpu
@pytest.mark.parametrize("stages", [(3, 3, 3), (2, 5)], ids=str)
def test_cuda_reads_any_strides_on_the_current_stream(gpu: Any, stages: tuple[int, ...]) -> None:
    rows = [torch.tensor(x, device=gpu) for x in random_rows(700, stages, np.float32)]
    expected = soft_stagewise_regression(*rows, stages, 101.0)
    with torch.cuda.stream(torch.cuda.Stream()):
        turned = [x.T.contiguous().T for x in rows]
        torch.testing.assert_close(soft_stagewise_regression(*turned, stages, 101.0), expected)
        shifted = [torch.cat([x.flatten().new_zeros(1), x.flatten()])[1:].view_as(x) for x in rows]
        assert torch.equal(soft_stagewise_regression(*shifted, stages, 101.0), expected)
        torch.cuda.current_stream().synchronize()


def test_constants_go_by_value() -> None:
    """A constant handed as a tensor that changes later is read anew."""
    p, eta, delta = torch.ones(2, 3), torch.ones(2, 3), torch.zeros(2, 1)
    weight = torch.tensor(1.0)
    before = soft_stagewise_regression(p, eta, delta, (3,), 90.0, weight)
    weight.fill_(0.0)
    after = soft_stagewise_regression(p, eta, delta, (3,), 90.0, weight)
    np.testing.assert_allclose(before.numpy(), 180.0, rtol=1e-6)
    np.testing.assert_allclose(after.numpy(), 90.0, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_traced_network_answers_as_the_network() -> None:
    from ssr_ops.shipped import default_bundle
    from ssr_train.model import load_model

    model = load_model(default_bundle())
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        traced = torch.jit.trace(model, images[:1])
        torch.testing.assert_close(traced(images), model(images), rtol=1e-4, atol=1e-3)
