"""Boxes of arrays that are copied to shared memory, and the barriers there that count them."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cuda import emulator
from codegen.cuda.emulator import Module, Order
from codegen.kernels.cuda.form import TF32
from ir.command import Error
from ir.op import Array
from ir.plan import TensorMap
from tests.canonical import Canonical
from tests.counts import cases
from tests.test_emulator import ORDERS, kernel, needs_compiler

pytestmark = needs_compiler
NOTHING = np.zeros(1, np.float32)

COPY = """
  extern __shared__ __align__(1024) float s[];
  int t = ((int)threadIdx.x), words = at[0];
  if (t == 0) {{
    begin_barrier((&(s[words])), 1);
    show_barriers();
  }}
  __syncthreads();
  if (t == 0) {{
    expect_bytes((&(s[words])), 4 * words);
    copy_box_{rank}((&(s[0])), ((unsigned long long)(&(map))), (&(s[words])), {index});
  }}
  {wait}
  for (int i = t; i < words; i = i + 32) {{
    o[i] = s[i];
  }}
  wait_barrier((&(s[words])), 0);
"""
WAIT = "wait_barrier((&(s[words])), 0);"


@lru_cache
def compiled(rank: int, wait: str) -> Module:
    index = ", ".join(f"at[{axis + 1}]" for axis in range(rank))
    parameters = "const __grid_constant__ CUtensorMap map, int* at, float* o"
    return emulator.compile(kernel(parameters, COPY.format(rank=rank, index=index, wait=wait)))


def copied(
    map: TensorMap, array: Array, index: Sequence[int], order: Order, wait: str = WAIT
) -> Array:
    """The words of shared memory that a box came to."""
    words = int(np.prod(map.box))
    at, found = np.array([words, *index], np.int32), np.zeros(words, np.float32)
    given = emulator.tensor_map(map, 4, array.ctypes.data)
    pointers = [given, at.ctypes.data, found.ctypes.data]
    run = compiled(len(map.box), wait)["f"]
    run((1, 1, 1), (32, 1, 1), pointers, order, 4 * words + 8)
    return found


@st.composite
def maps(draw: st.DrawFn) -> tuple[TensorMap, Array, tuple[int, ...]]:
    """A map, its array, and an index that a box may begin at, innermost first."""
    rank = draw(st.sampled_from((3, 5)))
    line = draw(st.sampled_from((8, 16)))
    inner = draw(st.integers(1, 3)) * line
    extents = (inner, *(draw(st.integers(1, 5)) for _ in range(rank - 1)))
    box = (line, *(draw(st.integers(1, 4)) for _ in range(rank - 1)))
    array = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(extents[::-1])
    strides = tuple(4 * int(np.prod(extents[:axis])) for axis in range(1, rank))
    index = tuple(draw(st.integers(-3, extent)) for extent in extents)
    swizzle = draw(st.sampled_from((0, 4 * line)))
    return TensorMap(0, extents, strides, box, swizzle), array.astype(np.float32), index


def expected(map: TensorMap, array: Array, index: Sequence[int]) -> Array:
    """Zeros beyond the array; lines in the order of `wgmma` where they are swizzled."""
    pairs = zip(reversed(index), reversed(map.box), strict=True)
    at = np.ix_(*(np.arange(begin, begin + extent) for begin, extent in pairs))
    inside = [(axis >= 0) & (axis < n) for axis, n in zip(at, array.shape, strict=True)]
    clipped = tuple(np.clip(axis, 0, n - 1) for axis, n in zip(at, array.shape, strict=True))
    box = np.where(np.logical_and.reduce(np.broadcast_arrays(*inside)), array[clipped], 0)
    box = box.reshape(-1, map.box[0])
    if not map.swizzle:
        return np.asarray(box.ravel())
    found = np.empty(box.size, np.float32)
    found[_lines(map).all(*box.shape) // 4] = box
    return found


def _lines(map: TensorMap) -> Canonical:
    units = map.swizzle // 16
    return Canonical(TF32, units, False, 1, 8 * units)


@cases(full=300, sample=15)
@given(drawn=maps(), order=st.sampled_from(ORDERS))
def test_a_box_comes_as_it_lies_in_the_array(
    drawn: tuple[TensorMap, Array, tuple[int, ...]], order: Order
) -> None:
    assert np.array_equal(copied(*drawn, order), expected(*drawn))


@cases(full=20, sample=2)
@given(drawn=maps())
def test_what_is_read_before_it_came_shows(
    drawn: tuple[TensorMap, Array, tuple[int, ...]],
) -> None:
    """It comes at once where threads run forward, and as late as allowed backward."""
    early, late = (copied(*drawn, order, wait="") for order in ORDERS)
    assert np.array_equal(early, expected(*drawn)) or np.isnan(early).any()
    assert np.isnan(late).all()


# ---------------------------------------------------------------------------- two roles

STAGES = """
  extern __shared__ __align__(1024) float s[];
  int t = ((int)threadIdx.x), w = ((int)threadIdx.y), slots = n[0], readers = n[1], turns = n[2];
  int arrived = slots * 32, left = arrived + 2 * slots;
  if (t == 0 && w == 0) {{
    for (int slot = 0; slot < slots; ++slot) {{
      begin_barrier((&(s[arrived + 2 * slot])), 32);
      begin_barrier((&(s[left + 2 * slot])), readers);
    }}
    show_barriers();
  }}
  __syncthreads();
  if (w == readers) {{
    for (int i = 0; i < turns; ++i) {{
      int slot = i % slots;
      {patient}
      s[slot * 32 + t] = i + t;
      arrive_at((&(s[arrived + 2 * slot])));
    }}
  }}
  float sum = 0x0p+0f;
  if (w < readers) {{
    for (int i = 0; i < turns; ++i) {{
      int slot = i % slots;
      wait_barrier((&(s[arrived + 2 * slot])), (i / slots) & 1);
      sum = sum + s[slot * 32 + (t ^ 1)] * (i + 1);
      wait_warp();
      if (t == 0) {{
        arrive_at((&(s[left + 2 * slot])));
      }}
    }}
    o[w * 32 + t] = sum;
  }}
  __syncthreads();
"""
PATIENT = "wait_barrier((&(s[left + 2 * slot])), ((i / slots) & 1) ^ 1);"


@lru_cache
def staged(patient: str) -> Module:
    return emulator.compile(kernel("int* n, float* o", STAGES.format(patient=patient)))


def summed(slots: int, readers: int, turns: int, order: Order, patient: str = PATIENT) -> Array:
    numbers = np.array([slots, readers, turns], np.int32)
    found = np.full((readers, 32), np.nan, np.float32)
    pointers = [numbers.ctypes.data, found.ctypes.data]
    shared = slots * (32 + 4) * 4
    staged(patient)["f"]((1, 1, 1), (32, readers + 1, 1), pointers, order, shared)
    return found


@cases(full=60, sample=6)
@given(
    slots=st.integers(1, 4),
    readers=st.integers(1, 3),
    turns=st.integers(0, 12),
    order=st.sampled_from(ORDERS),
)
def test_a_warp_runs_ahead_of_others(slots: int, readers: int, turns: int, order: Order) -> None:
    """As far as there are slots."""
    i, t = np.arange(turns)[:, None], np.arange(32) ^ 1
    expected = ((i + t) * (i + 1)).sum(axis=0)
    assert np.array_equal(summed(slots, readers, turns, order), np.tile(expected, (readers, 1)))


@pytest.mark.parametrize("order", ORDERS)
def test_one_that_does_not_wait_is_caught(order: Order) -> None:
    """It overwrites what nobody has read yet, and phases pass by."""
    with pytest.raises(Error, match="a barrier in shared memory that nobody completes"):
        summed(2, 1, 9, order, patient="")


# ---------------------------------------------------------------------------- election


@pytest.mark.parametrize("order", ORDERS)
def test_one_lane_of_every_warp_is_elected(order: Order) -> None:
    """Not always the same one."""
    text = "o[((int)threadIdx.x)] = is_elected();"
    found = np.full(96, 7, np.int32)
    emulator.compile(kernel("int* o", text))["f"](
        (1, 1, 1), (96, 1, 1), [found.ctypes.data], order, 0
    )
    elected = {"forward": 0, "backward": 31}[order]
    assert found.reshape(3, 32).tolist() == [[int(lane == elected) for lane in range(32)]] * 3


# ---------------------------------------------------------------------------- complaints


def complaint(lines: str, order: Order, map: bool = False) -> None:
    """Run them: of one warp, with room for 64 floats."""
    parameters = "const __grid_constant__ CUtensorMap map" if map else "float* a"
    text = f"extern __shared__ __align__(1024) float s[];\nint t = ((int)threadIdx.x);\n{lines}"
    module = emulator.compile(kernel(parameters, text))
    boxes = TensorMap(0, (8, 2, 2), (32, 64), (8, 1, 2), 0)
    given = emulator.tensor_map(boxes, 4, NOTHING.ctypes.data) if map else NOTHING.ctypes.data
    module["f"]((1, 1, 1), (32, 1, 1), [given], order, 256)


BEGIN = "if (t == 0) { begin_barrier((&(s[32])), 2); } wait_warp();"
TWO = "if (t < 2) { arrive_at((&(s[32]))); } wait_warp();"
BOX = "copy_box_{}(({}), ((unsigned long long)(&(map))), (&(s[32])), {});"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (f"{BEGIN} {TWO}\nwait_barrier((&(s[32])), 0);", None),
        (f"{BEGIN}\nwait_barrier((&(s[32])), 1);", None),
        (f"{BEGIN}\nwait_barrier((&(s[32])), 0);", "waits in line 6 for a barrier in shared memo"),
        (f"{BEGIN} {TWO}\nwait_barrier((&(s[32])), 1);", "that nobody completes"),
        (f"{BEGIN} expect_bytes((&(s[32])), 8);", "that has all arrivals"),
        ("arrive_at((&(s[32])));", "expected a barrier in shared memory that was begun"),
        ("wait_barrier((&(s[32])), 1);", "expected a barrier in shared memory that was begun"),
        ("begin_barrier(a, 1);", "does not lie in shared memory"),
        ("begin_barrier((&(s[33])), 1);", "no multiple of its size"),
        ("if (t > 3) { s[is_elected()] = 0; }", "28 of its warp's 32 lanes wait for the others"),
    ],
)
def test_what_is_wrong_with_a_barrier_is_said(
    lines: str, message: str | None, order: Order
) -> None:
    if message is None:
        complaint(lines, order)
    else:
        with pytest.raises(Error, match=re.escape(message)):
            complaint(lines, order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("copy", "message"),
    [
        (BOX.format(3, "&(s[0])", "0, 0, 0"), None),
        (BOX.format(3, "&(s[4])", "0, 0, 0"), "no multiple of its size"),
        (BOX.format(3, "&(s[64])", "0, 0, 0"), "does not lie in shared memory"),
        (BOX.format(5, "&(s[0])", "0, 0, 0, 0, 0"), "a box of another rank than its array's map"),
    ],
)
def test_what_is_wrong_with_a_box_is_said(copy: str, message: str | None, order: Order) -> None:
    lines = f"{BEGIN} if (t == 0) {{ {copy} }}"
    if message is None:
        complaint(lines, order, map=True)
    else:
        with pytest.raises(Error, match=message):
            complaint(lines, order, map=True)
