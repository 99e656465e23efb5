"""Asynchronous copies, and shared memory whose size is given at the launch, on the host."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cuda import emulator
from codegen.cuda.emulator import Module, Order
from ir.command import Error
from ir.op import Array
from tests.counts import cases
from tests.test_emulator import BARRIER, ORDERS, kernel, launch, needs_compiler

pytestmark = needs_compiler
FLOATS = {4: 1, 8: 2, 16: 4}
"""Of a copy, by its bytes."""


def run(module: Module, *arrays: Array, shared: int, order: Order = "forward") -> None:
    """One block of two warps."""
    pointers = [array.ctypes.data for array in arrays]
    module["f"]((1, 1, 1), (32, 2, 1), pointers, order, shared)


# ---------------------------------------------------------------------------------- copies

GROUPS = """
  extern __shared__ __align__(64) float s[];
  int t = ((int)threadIdx.y) * 32 + ((int)threadIdx.x);
  for (int i = 0; i < groups[0]; ++i) {{
    copy_async_{bytes}((&(s[(i * 64 + t) * {floats}])), (&(a[(i * 64 + t) * {floats}])), valid[t]);
    commit_copies();
  }}
  copy_async_{bytes}((&(s[(groups[0] * 64 + t) * {floats}])), (&(a[0])), 1);
  wait_copies({latest});
  for (int i = 0; i < (groups[0] + 1) * {floats}; ++i) {{
    o[((i / {floats}) * 64 + t) * {floats} + i % {floats}] =
        s[((i / {floats}) * 64 + t) * {floats} + i % {floats}];
  }}
"""


@cases(full=60, sample=12)
@given(
    seed=st.integers(0, 999),
    size=st.sampled_from([4, 8, 16]),
    groups=st.integers(0, 5),
    latest=st.integers(0, 3),
    order=st.sampled_from(ORDERS),
)
def test_copies_come_when_waited_for(
    seed: int, size: int, groups: int, latest: int, order: Order
) -> None:
    """Groups in their order, all but the latest; one that is not closed does not count."""
    text = GROUPS.format(bytes=size, floats=FLOATS[size], latest=latest)
    module = emulator.compile(kernel("float* a, int* valid, int* groups, float* o", text))
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((groups + 1, 64, FLOATS[size])).astype(np.float32)
    valid = rng.integers(0, 2, 64).astype(np.int32)
    found = np.zeros_like(values)
    count = np.array([groups], np.int32)
    run(module, values, valid, count, found, shared=values.nbytes, order=order)
    came = max(groups - latest, 0)
    assert np.array_equal(found[:came], values[:came] * valid[:, None])
    assert np.isnan(found[came:]).all()


STAGES = """
  extern __shared__ __align__(64) float s[];
  int t = ((int)threadIdx.y) * 32 + ((int)threadIdx.x);
  for (int i = 0; i < 2; ++i) {{
    copy_async_4((&(s[i * 64 + t])), (&(a[i * 64 + t])), 1);
    commit_copies();
  }}
  float sum = 0x0p+0f;
  for (int i = 0; i < 9; ++i) {{
    {wait}
    {barrier}
    if (i + 2 < 9) {{
      copy_async_4((&(s[(i + 2) % {stages} * 64 + t])), (&(a[(i + 2) * 64 + t])), 1);
    }}
    commit_copies();
    sum = sum + s[i % {stages} * 64 + 63 - t];
  }}
  o[t] = sum;
"""


@pytest.mark.parametrize(
    ("stages", "wait", "barrier", "right"),
    [
        (3, "wait_copies(1);", BARRIER, True),
        (4, "wait_copies(1);", BARRIER, True),
        (3, "wait_copies(2);", BARRIER, False),
        (3, "", BARRIER, False),
        (3, "wait_copies(1);", "", False),
        (2, "wait_copies(1);", BARRIER, False),
    ],
    ids=["right", "roomy", "late", "never", "no barrier", "one stage too few"],
)
def test_a_faulty_pipeline_shows(stages: int, wait: str, barrier: str, right: bool) -> None:
    text = STAGES.format(stages=stages, wait=wait, barrier=barrier)
    module = emulator.compile(kernel("float* a, float* o", text))
    values = np.arange(9 * 64, dtype=np.float32).reshape(9, 64)
    expected = values.sum(axis=0)[::-1]
    for order in ORDERS:
        found = np.zeros(64, np.float32)
        run(module, values, found, shared=stages * 256, order=order)
        if right:
            assert np.array_equal(found, expected)
        else:
            assert np.isnan(found).any()


def test_an_invalid_copy_reads_nothing() -> None:
    text = """
      extern __shared__ __align__(64) float s[];
      int t = ((int)threadIdx.y) * 32 + ((int)threadIdx.x);
      copy_async_16((&(s[t * 4])), ((float*)16), 0);
      commit_copies();
      wait_copies(0);
      o[t] = s[t * 4] + s[t * 4 + 3];
    """
    found = np.ones(64, np.float32)
    run(emulator.compile(kernel("float* o", text)), found, shared=1024)
    assert (found == 0).all()


@pytest.mark.parametrize("barrier", ["", BARRIER])
@pytest.mark.parametrize("bytes_", FLOATS)
@pytest.mark.parametrize(
    ("to", "of", "complaint"),
    [
        ("s + 1", "a", "no multiple of its size"),
        ("s", "a + 1", "no multiple of its size"),
        ("a", "a", "does not lie in shared memory"),
        ("s + 64", "a", "does not lie in shared memory"),
    ],
)
def test_copies_go_from_aligned_places_to_shared_memory(
    to: str, of: str, complaint: str, bytes_: int, barrier: str
) -> None:
    text = f"""
      extern __shared__ __align__(64) uchar s[];
      {barrier}
      copy_async_{bytes_}({to}, {of}, 1);
    """
    module, memory = emulator.compile(kernel("uchar* a", text)), np.zeros(4, np.float64)
    with pytest.raises(Error, match=rf"block \(0, 0, 0\), thread \(0, 0, 0\): .*{complaint}"):
        run(module, memory, shared=64)


@pytest.mark.parametrize("barrier", ["", BARRIER])
def test_what_a_block_did_not_wait_for_is_forgotten(barrier: str) -> None:
    text = f"""
      extern __shared__ __align__(64) float s[];
      int t = ((int)threadIdx.x);
      if (blockIdx.x == 0) {{
        copy_async_4((&(s[t])), (&(a[t])), 1);
        commit_copies();
      }} else {{
        s[t] = 0x1p+0f;
      }}
      {barrier}
      wait_copies(((int)blockIdx.x) == 0 ? 3 : 0);
      o[((int)blockIdx.x) * 32 + t] = s[t];
    """
    module = emulator.compile(kernel("float* a, float* o", text))
    values, found = np.zeros(32, np.float32), np.zeros((2, 32), np.float32)
    module["f"]((2, 1, 1), (32, 1, 1), [values.ctypes.data, found.ctypes.data], shared=128)
    assert np.isnan(found[0]).all()
    assert (found[1] == 1).all()


# -------------------------------------------------------------------- sizes of the launch

FILL = """
  extern __shared__ __align__(64) float s[];
  for (int i = 0; i < count[0]; ++i) {
    o[((int)blockIdx.x) * count[0] + i] = s[i];
    s[i] = 0x1p+0f;
  }
"""


@pytest.mark.parametrize("barrier", ["", BARRIER])
@pytest.mark.parametrize("count", [1, 16, 58112])
def test_each_block_begins_with_nan(count: int, barrier: str) -> None:
    module = emulator.compile(kernel("int* count, float* o", f"{FILL}{barrier}"))
    counts, found = np.array([count], np.int32), np.zeros((2, count), np.float32)
    pointers = [counts.ctypes.data, found.ctypes.data]
    module["f"]((2, 1, 1), (1, 1, 1), pointers, shared=4 * count)
    assert np.isnan(found).all()


@pytest.mark.parametrize("barrier", ["", BARRIER])
@pytest.mark.parametrize("place", [-1, 16, 900])
def test_writing_beyond_is_reported(place: int, barrier: str) -> None:
    text = f"extern __shared__ __align__(64) float s[]; {barrier} s[at[0]] = 0x0p+0f;"
    module = emulator.compile(kernel("int* at", text))
    complaint = "'f': block (0, 0, 0): writes beyond the 64 bytes of shared memory that the launch"
    with pytest.raises(Error, match=re.escape(complaint)):
        run(module, np.array([place], np.int32), shared=64)
    run(module, np.array([15], np.int32), shared=64)


def test_a_launch_must_say_how_much() -> None:
    module = emulator.compile(kernel("float* o", "extern __shared__ __align__(64) float s[];"))
    with pytest.raises(Error, match="0 bytes for the shared array without an extent, expected >="):
        launch(module, (1, 1, 1), (32, 1, 1), np.zeros(1))
