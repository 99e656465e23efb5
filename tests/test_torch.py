"""Forward and gradient of every op that PyTorch has, against PyTorch in float64."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given

from ir.op import Absent, Array
from ir.ops import TABLE, apply
from ir.type import DType
from tests.counts import cases
from tests.graphs import SEEDS
from tests.op_cases import Case, Draw, draw_case, reference, run_adjoint

pytestmark = pytest.mark.torch

Tensor = Any
Attrs = dict[str, Any]


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test-torch")


# ---------------------------------------------------------------------------- the same in PyTorch


def padded(torch: Any, x: Tensor, a: Attrs, value: float = 0.0) -> Tensor:
    top, bottom, left, right = a["pad"]
    return torch.nn.functional.pad(x, (left, right, top, bottom), value=value)


def conv(torch: Any, a: Attrs, x: Tensor, w: Tensor) -> Tensor:
    return torch.conv2d(padded(torch, x, a), w, stride=a["stride"], groups=a["groups"])


def local(torch: Any, a: Attrs, x: Tensor, w: Tensor) -> Tensor:
    columns = torch.nn.functional.unfold(padded(torch, x, a), w.shape[4:], stride=a["stride"])
    columns = columns.reshape(len(x), 1, *w.shape[3:], *w.shape[1:3])
    return (columns * w.permute(0, 3, 4, 5, 1, 2)).sum((2, 3, 4))


def max_pool(torch: Any, a: Attrs, x: Tensor) -> Tensor:
    return torch.max_pool2d(padded(torch, x, a, -np.inf), a["window"], a["stride"])


def avg_pool(torch: Any, a: Attrs, x: Tensor) -> Tensor:
    total, count = (
        torch.nn.functional.avg_pool2d(
            padded(torch, v, a), a["window"], a["stride"], divisor_override=1
        )
        for v in (x, torch.ones_like(x))
    )
    return total / count


def lrn(torch: Any, a: Attrs, x: Tensor) -> Tensor:
    groups = x.reshape(-1, x.shape[1] // a["groups"], *x.shape[2:])
    y = torch.nn.functional.local_response_norm(
        groups, a["size"], a["alpha"] * a["size"], a["beta"], a["k"]
    )
    return y.reshape(x.shape)


def spatial_lrn(torch: Any, a: Attrs, x: Tensor) -> Tensor:
    before, after = a["size"] // 2, (a["size"] - 1) // 2
    squares = torch.nn.functional.pad(x * x, (before, after, before, after))
    near = torch.nn.functional.avg_pool2d(squares, a["size"], 1, divisor_override=1)
    return x * (a["k"] + a["alpha"] * near) ** -a["beta"]


def cross_entropy(torch: Any, a: Attrs, z: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    losses = torch.nn.functional.cross_entropy(z, labels.long(), reduction="none")
    return (losses * weights).sum() / weights.sum()


def unslice(torch: Any, a: Attrs, dy: Tensor) -> Tensor:
    behind = a["size"] - a["start"] - dy.shape[a["axis"]]
    inner = (0, 0) * (dy.ndim - 1 - a["axis"])
    return torch.nn.functional.pad(dy, (*inner, a["start"], behind))


TWINS: dict[str, Callable[..., Tensor]] = {
    "add": lambda torch, a, x, y: x + y,
    "sub": lambda torch, a, x, y: x - y,
    "mul": lambda torch, a, x, y: x * y,
    "scale": lambda torch, a, x: x * a["by"],
    "scale_by": lambda torch, a, x, s: x * s,
    "relu": lambda torch, a, x: x.relu(),
    "tanh": lambda torch, a, x: x.tanh(),
    "bias_add": lambda torch, a, x, b: x + b.reshape(b.shape + (1,) * (x.ndim - 1 - b.ndim)),
    "conv": conv,
    "local": local,
    "dense": lambda torch, a, x, w: torch.nn.functional.linear(x, w),
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "lrn": lrn,
    "spatial_lrn": spatial_lrn,
    "softmax": lambda torch, a, z: z.softmax(1),
    "cross_entropy": cross_entropy,
    "concat": lambda torch, a, *xs: torch.cat(xs, a["axis"]),
    "slice": lambda torch, a, x: x.narrow(a["axis"], a["start"], a["size"]),
    "unslice": unslice,
    "flatten": lambda torch, a, x: x.flatten(1),
    "unflatten": lambda torch, a, x: x.unflatten(1, a["shape"]),
    "center": lambda torch, a, x, mean: x - mean,
    "channel_shift": lambda torch, a, x, shift: x + shift[:, :, None, None],
}


# ---------------------------------------------------------------------------- comparisons


def assert_close(ours: Array, theirs: Tensor) -> None:
    expected = theirs.detach().numpy()
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= 1e-9 * max(np.abs(expected).max(), 1e-9)


def assert_same(torch: Any, case: Case, twin: Callable[..., Tensor], seed: int) -> None:
    """The result, and the gradient of every operand that has one."""
    rules = TABLE[case.node.op].gradient
    assert not isinstance(rules, Absent)
    names = [TABLE[case.node.op].operand_name(i) for i in range(len(case.values))]
    asked = [not isinstance(rules.get(name, Absent("")), Absent) for name in names]
    operands = [
        torch.tensor(value, requires_grad=grad)
        for value, grad in zip(case.values, asked, strict=True)
    ]
    y = twin(torch, dict(case.node.attrs), *operands)
    assert_close(np.asarray(reference(case.node, list(case.values))), y)
    dy = np.random.default_rng(seed).standard_normal(case.node.type.shape)
    if any(asked):
        y.backward(torch.tensor(dy))
    for index, operand in enumerate(operands):
        if asked[index]:
            assert_close(run_adjoint(case, index, dy), operand.grad)


@pytest.mark.parametrize("op", TWINS)
@cases(full=200, sample=40)
@given(seed=SEEDS)
def test_forward_and_gradient(torch: Any, op: str, seed: int) -> None:
    case = draw_case(op, Random(seed), exact=True)
    if op == "cross_entropy":
        assume(case.values[2].any())  # PyTorch's mean over nothing is NaN.
    assert_same(torch, case, TWINS[op], seed)


@cases(full=200, sample=40)
@given(seed=SEEDS)
def test_tied_maxima(torch: Any, seed: int) -> None:
    case = draw_case("max_pool", Random(seed), exact=True)
    attrs: Attrs = {**case.node.attrs, "ties": "first"}
    node = apply("max_pool", *case.node.inputs, name="tied", **attrs)
    feeds = {name: np.rint(value) for name, value in case.feeds.items()}
    assert_same(torch, Case(node, case.leaves, feeds), max_pool, seed)


@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
@cases(full=200, sample=40)
@given(seed=SEEDS)
def test_windows_by_the_ceil_rule(torch: Any, op: str, seed: int) -> None:
    draw = Draw(Random(seed), (DType.F32,))
    case, pad = ceil_pool(draw, op)
    pool = {
        "max_pool": lambda torch, a, x: torch.nn.functional.max_pool2d(
            x, a["window"], a["stride"], pad, ceil_mode=True
        ),
        "avg_pool": lambda torch, a, x: torch.nn.functional.avg_pool2d(
            x, a["window"], a["stride"], pad, ceil_mode=True, count_include_pad=False
        ),
    }[op]
    assert_same(torch, case, pool, seed)


def ceil_pool(d: Draw, op: str) -> tuple[Case, int]:
    """A pool whose far pads are what PyTorch's ceil rule amounts to, and its near pad."""
    window, stride = d.between(1, 4), d.between(1, 3)
    near, size = d.between(0, window // 2), d.between(window, 8)
    count = -(-(size + 2 * near - window) // stride) + 1
    count -= (count - 1) * stride >= size + near
    far = max(0, (count - 1) * stride + window - size - near)
    node = d.apply(
        op,
        d.x(2, 2, size, size),
        window=(window, window),
        stride=(stride, stride),
        pad=(near, far, near, far),
    )
    assert node.type.shape[2] == count
    return Case(node, tuple(d.leaves), d.feeds), near
