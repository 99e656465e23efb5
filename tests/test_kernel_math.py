"""The vector functions are as exact as they say, over all of float32 and at its edges."""

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import tvm

from codegen.kernels import math
from codegen.kernels.memory import Home
from codegen.kernels.pointwise import RULES
from codegen.kernels.writer import Lane, Position, Writer
from codegen.layout import LANES
from ir.graph import Graph
from ir.op import Array
from ir.ops import apply
from ir.type import DType, TensorType
from tests.kernels import host

COUNT = 1 << 16
Function = Callable[[Writer, Lane], Lane]
EDGES = (0.0, -0.0, 1.0, np.inf, np.nan, 1e-30, 1e30, 88.8, 88.7, 0.625, 0.5**0.5)


def evaluate(function: Function, x: Array) -> Array:
    """A vector function at every element of x."""
    type = TensorType((x.size,), DType.F32)
    operand = apply("input", name="x", type=type)
    result = apply("relu", operand, name="y")
    w = Writer(Graph("f", (operand, result), (result,)), host())
    with w.tasks(x.size // LANES) as block:
        position = Position(w, RULES, (block,))
        value = function(w, position.vector(operand))
        position.store(result, Home(w, w.buffers[result]), value)
    module = tvm.IRModule({"kernel": w.built().function})
    memory = np.empty(2 * x.size + 64, np.float32)
    start = -memory.ctypes.data % 64 // 4
    given, found = memory[start : start + x.size], memory[start + x.size : start + 2 * x.size]
    given[:] = x
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (memory, given, found)]
    tvm.compile(module, target=host().tvm())["kernel"](1, *pointers)
    return found.copy()


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


def test_exp() -> None:
    x = swept(-120, 100)
    with np.errstate(over="ignore", under="ignore"):
        assert_within(2, evaluate(math.exp, x), np.exp(x.astype(np.float64)))


def test_log() -> None:
    x = spread_over_exponents()
    with np.errstate(divide="ignore"):
        assert_within(2, evaluate(math.log, x), np.log(x.astype(np.float64)))
    assert np.isnan(evaluate(math.log, np.full(LANES, -1, np.float32))).all()


def test_tanh() -> None:
    x = swept(-20, 20)
    assert_within(2, evaluate(math.tanh, x), np.tanh(x.astype(np.float64)))


@pytest.mark.parametrize("exponent", [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 2.0, -0.75, -1.0])
def test_powers_by_roots(exponent: float) -> None:
    x = swept(1e-3, 1e3)
    found = evaluate(lambda w, lane: math.power(w, lane, exponent), x)
    assert_within(4, found, x.astype(np.float64) ** exponent)


@pytest.mark.parametrize("exponent", [0.3, 0.6, -0.9, 2.5])
def test_other_powers(exponent: float) -> None:
    """e^(b ln x): every ulp of b ln x, here up to 3 |b|, is worth |b ln x| ulp."""
    x = swept(0.05, 20)
    found = evaluate(lambda w, lane: math.power(w, lane, exponent), x)
    assert_within(4 + 3 * abs(exponent), found, x.astype(np.float64) ** exponent)
