"""The vector functions are as exact as they say, over all of float32 and at its edges."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from codegen.kernels import math
from codegen.kernels.cpu.writer import Writer as CpuWriter
from codegen.kernels.cuda.writer import Writer as CudaWriter
from codegen.kernels.memory import Home
from codegen.kernels.pointwise import RULES
from codegen.kernels.writer import Lane, Position, Writer
from ir.graph import Graph
from ir.op import Array
from ir.ops import apply
from ir.type import DType, TensorType
from tests.kernels import EMULATED, as_region, host, run_built
from tests.operands import aligned

COUNT = 1 << 16
Function = Callable[[Writer, Lane], Lane]
EDGES = (0.0, -0.0, 1.0, np.inf, np.nan, 1e-30, 1e30, 88.8, 88.7, 0.625, 0.5**0.5)


TARGETS = pytest.mark.parametrize("kind", ["cpu", "cuda"])


def evaluate(function: Function, x: Array, kind: str) -> Array:
    """A vector function at every element of x, by a kernel for one kind of device."""
    type = TensorType((x.size,), DType.F32)
    operand = apply("input", name="x", type=type)
    result = apply("relu", operand, name="y")
    region = as_region(Graph("f", (operand, result), (result,)))
    (operand,), (result,) = region.graph.leaves("input"), region.graph.outputs
    target: Any = host() if kind == "cpu" else EMULATED
    w: Any = (CpuWriter if kind == "cpu" else CudaWriter)(region.graph, target)
    with w.tasks(x.size // w.width) as block:
        position = Position(w, RULES, (block,))
        value = function(w, position.vector(operand))
        position.store(result, Home(w, w.buffers[result]), value)
    scratch, given, found = aligned(np.empty(64, np.float32)), aligned(x), aligned(x)
    run_built(w.built(), region, target)(1, scratch, [given, found])
    return found


def swept(low: float, high: float) -> Array:
    """Numbers all over a range, and every edge inside it."""
    edges = [e for e in EDGES if not low > e and not e > high]
    inner = np.linspace(low, high, COUNT - len(edges))
    return np.concatenate((inner, edges)).astype(np.float32)


def spread_over_exponents() -> Array:
    """Positive numbers of every magnitude, and the edges."""
    edges = [e for e in EDGES if not e < 0]
    inner = 2 ** np.linspace(-126, 127.99, COUNT - len(edges))
    return np.concatenate((inner, edges)).astype(np.float32)


def assert_within(ulps: float, found: Array, exact: Array) -> None:
    """Compare with float64; infinities and NaN must agree."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    assert np.array_equal(found[~finite], rounded[~finite], equal_nan=True)
    unit = np.spacing(np.maximum(np.abs(rounded[finite]), np.float32(2**-126)))
    assert float(np.max(np.abs(found[finite] - exact[finite]) / unit)) <= ulps


@TARGETS
def test_exp(kind: str) -> None:
    x = swept(-120, 100)
    with np.errstate(over="ignore", under="ignore"):
        assert_within(2, evaluate(math.exp, x, kind), np.exp(x.astype(np.float64)))


@TARGETS
def test_log(kind: str) -> None:
    x = spread_over_exponents()
    with np.errstate(divide="ignore"):
        assert_within(2, evaluate(math.log, x, kind), np.log(x.astype(np.float64)))
    assert np.isnan(evaluate(math.log, np.full(32, -1, np.float32), kind)).all()


@TARGETS
def test_tanh(kind: str) -> None:
    x = swept(-20, 20)
    assert_within(2, evaluate(math.tanh, x, kind), np.tanh(x.astype(np.float64)))


@pytest.mark.parametrize("exponent", [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 2.0, -0.75, -1.0])
@TARGETS
def test_powers_by_roots(kind: str, exponent: float) -> None:
    x = swept(1e-3, 1e3)
    found = evaluate(lambda w, lane: math.power(w, lane, exponent), x, kind)
    assert_within(4, found, x.astype(np.float64) ** exponent)


@pytest.mark.parametrize("exponent", [-0.25, -0.5, -0.75, -1.25, -1.75])
@TARGETS
def test_negative_powers_by_one_root(kind: str, exponent: float) -> None:
    """As far as results are no denormals, which not every device has."""
    x = spread_over_exponents()
    with np.errstate(divide="ignore", over="ignore"):
        exact = x.astype(np.float64) ** exponent
    usual = (exact == 0) | np.isnan(exact) | (exact >= 2.0**-126)
    found = evaluate(lambda w, lane: math.power(w, lane, exponent), x, kind)
    assert_within(12 if exponent < -1 else 4.5, found[usual], exact[usual])


@pytest.mark.parametrize("exponent", [0.3, 0.6, -0.9, 2.5])
@TARGETS
def test_other_powers(kind: str, exponent: float) -> None:
    """e^(b ln x): every ulp of b ln x, here up to 3 |b|, is worth |b ln x| ulp."""
    x = swept(0.05, 20)
    found = evaluate(lambda w, lane: math.power(w, lane, exponent), x, kind)
    assert_within(4 + 3 * abs(exponent), found, x.astype(np.float64) ** exponent)
