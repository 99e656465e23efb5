"""Flipped units and broken ties are counted right, and are all that parts the ways of filtering."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.flips import MASKS, Mask, compared, counted
from ir.op import Array
from ir.ops import apply
from ir.type import DType, TensorType
from tests.built import ONE, built, finished

WINDOW, STRIDE = 3, 2
SEEDS = st.integers(0, 2**32 - 1)
PIXELS = st.integers(0, 5)


def pooled(x: Array, ties: str = "all") -> Mask:
    leaf = apply("input", name="x", type=TensorType(x.shape, DType.F32))
    geometry: dict[str, Any] = {"window": (WINDOW,) * 2, "stride": (STRIDE,) * 2}
    geometry |= {"pad": (0, 1, 0, 1), "ties": ties}
    y = apply("max_pool", leaf, name="y", **geometry)
    dy = apply("input", name="dy", type=y.type)
    return MASKS["max_pool_dx"](apply("max_pool_dx", leaf, dy, name="dx", **geometry), x)


def windows(x: Array) -> list[Array]:
    """The pixels of each window."""
    starts = range(0, x.shape[-1] - WINDOW + 2, STRIDE)
    return [x[..., i : i + WINDOW, j : j + WINDOW] for i in starts for j in starts]


def maxima(x: Array) -> list[int]:
    """Of each window, how many there are."""
    return [int((each == each.max()).sum()) for each in windows(x)]


@given(SEEDS, PIXELS, PIXELS)
def test_flips_are_the_windows_with_another_maximum(seed: int, row: int, column: int) -> None:
    x = np.random.default_rng(seed).permutation(36).reshape(1, 1, 6, 6).astype(np.float64)
    raised = x.copy()
    raised[0, 0, row, column] += 100
    moved = sum(
        int(one.argmax() != other.argmax())
        for one, other in zip(windows(x), windows(raised), strict=True)
    )
    same = {"units": len(windows(x)), "flipped": 0, "ties": 0}
    assert counted(pooled(x), pooled(2 * x + 1)) == same
    assert counted(pooled(x), pooled(raised)) == same | {"flipped": moved}


@given(SEEDS, PIXELS, PIXELS)
def test_ties_are_broken_where_the_maxima_are_more_or_less(
    seed: int, row: int, column: int
) -> None:
    x = np.random.default_rng(seed).integers(0, 3, (1, 1, 6, 6)).astype(np.float64)
    raised = x.copy()
    raised[0, 0, row, column] += 0.5
    broken = np.not_equal(maxima(x), maxima(raised)).sum()
    assert counted(pooled(x), pooled(raised))["ties"] == broken
    assert counted(pooled(x, "first"), pooled(raised, "first"))["ties"] == 0


@given(SEEDS)
def test_a_relu_flips_where_one_is_positive(seed: int) -> None:
    one, other = np.random.default_rng(seed).integers(-1, 2, (2, 4, 5))
    node: Any = None
    masks = [MASKS["relu_dx"](node, each.astype(np.float64)) for each in (one, other)]
    assert counted(*masks) == {"units": 20, "flipped": ((one > 0) != (other > 0)).sum(), "ties": 0}


# ------------------------------------------------------------------------------- a network

NETWORK = ("--batch", "16", "--width", "0.25", "--image", "96", "--classes", "10", "--ties")
ROUNDING = 3e-5
"""Of gradients, where both plans let the same through."""


@pytest.mark.full
@pytest.mark.parametrize("ties", ["all", "first"])
def test_gradients_differ_by_rounding_where_masks_are_the_same(ties: str, tmp_path: Path) -> None:
    """Digits are flat in large parts, where zeros and ties are what rounding decides."""
    exact, default = (
        built((*NETWORK, ties), ONE, options) / "plan.json" for options in (("--exact",), ())
    )
    finished("runtime.train", str(exact), "--steps", "2", "--out", "run", cwd=tmp_path)
    state = tmp_path / "run" / "last.safetensors"
    flips, gradients = compared(exact, default, state, "digits")
    assert sum(int(str(each["flipped"])) for each in flips) > 0
    assert (sum(int(str(each["ties"])) for each in flips) > 0) == (ties == "all")
    assert max(float(str(each["largest"])) for each in gradients) > 10 * ROUNDING
    assert max(float(str(each["alike"])) for each in gradients) < ROUNDING
