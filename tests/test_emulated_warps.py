"""What the lanes of a warp do together, as `codegen/cuda/warp.h` says and PTX defines it."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cuda import emulator
from codegen.cuda.emulator import Module, Order
from ir.command import Error
from ir.op import Array
from ir.ops.precision import rounded
from tests.counts import cases
from tests.test_emulator import BARRIER, ORDERS, kernel, launch, needs_compiler, on_lanes

pytestmark = needs_compiler
SEEDS = st.integers(0, 999)

REGISTERS = """
  int t = ((int)threadIdx.x);
  alignas(64) uint a_[4];
  alignas(64) uint b_[2];
  alignas(64) float sums[4];
"""


def halves(x: Array) -> Array:
    """The upper halves of floats, by their bits."""
    return (x.view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def with_special(rng: np.random.Generator) -> Array:
    """32 floats of all sizes; ties between bf16 and tf32 numbers, infinities, NaN among them."""
    bits = rng.integers(0, 2**32, 32, dtype=np.uint32)
    bits[:8] = bits[:8] & 0xFFFF0000 | 0x8000
    bits[8:16] = bits[8:16] & 0xFFFFE000 | 0x1000
    bits[16:20] = [0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x80000001]
    return bits.view(np.float32)


# -------------------------------------------------------------------------------- rounding


@cases(full=100, sample=20)
@given(seed=SEEDS)
def test_rounding_is_that_of_the_oracle(seed: int) -> None:
    x = with_special(np.random.default_rng(seed))
    bf16 = on_lanes("z = __uint_as_float((uint)bf16_bits(x0) << 16);", x)
    words = "uint4 w; w.x = w.y = w.z = w.w = __float_as_uint(x0); round_tf32(&w);"
    pair = "uint2 w; w.x = w.y = __float_as_uint(x0); round_tf32_pair(&w);"
    with np.errstate(all="ignore"):
        assert np.array_equal(bf16, rounded(x, "bf16"), equal_nan=True)
        for text, register in [(words, r) for r in "xyzw"] + [(pair, r) for r in "xy"]:
            found = on_lanes(f"{text} z = __uint_as_float(w.{register});", x)
            assert np.array_equal(found, rounded(x, "tf32"), equal_nan=True)


# -------------------------------------------------------------------------------- matrices

FETCH = """
  __shared__ alignas(64) ushort s[2048];
  for (int i = t; i < 2048; i = i + 32) {{
    s[i] = rows[i];
  }}
  wait_warp();
  {load}
  for (int i = 0; i < {words}; ++i) {{
    o[i * 32 + t] = a_[i];
  }}
"""


def fetched(rows: Array, starts: Array, form: str, words: int, order: Order) -> Array:
    """[matrix, lane, half]: what lanes get that name rows of `rows` by where these start."""
    call = f"{form}((&(*(uint{words}*)(a_ + 0))), (&(s[starts[t] * 8])));"
    text = REGISTERS + FETCH.format(load=call, words=words)
    module = emulator.compile(kernel("ushort* rows, int* starts, uint* o", text))
    found = np.zeros((words, 32), np.uint32)
    launch(module, (1, 1, 1), (32, 1, 1), rows, starts, found, order=order)
    return found.view(np.uint16).reshape(words, 32, 2)


@cases(full=30, sample=5)
@given(seed=SEEDS, order=st.sampled_from(ORDERS), matrices=st.sampled_from([2, 4]))
def test_a_lane_gets_two_halves_of_each_matrix(seed: int, order: Order, matrices: int) -> None:
    rng = np.random.default_rng(seed)
    rows, starts = rng.integers(0, 2**16, (256, 8)).astype(np.uint16), rng.permutation(256)[:32]
    form = {2: "load_matrix_pairs", 4: "load_matrices"}[matrices]
    given = starts.astype(np.int32)
    whole = rows[starts].reshape(4, 8, 8)[:matrices]
    plain = fetched(rows, given, form, matrices, order)
    assert np.array_equal(plain.reshape(matrices, 8, 8), whole)
    turned = fetched(rows, given, f"{form}_transposed", matrices, order)
    assert np.array_equal(turned.reshape(matrices, 8, 8), whole.swapaxes(1, 2))


# -------------------------------------------------------------------------------- products

PRODUCT = """
  extern __shared__ __align__(64) {type} array[];
  int warp = ((int)threadIdx.y);
  {type}* s = array + warp * 384;
  for (int i = t; i < {left}; i = i + 32) {{
    s[i] = a[warp * {left} + i];
  }}
  for (int i = t; i < {right}; i = i + 32) {{
    s[{left} + i] = b[warp * {right} + i];
  }}
  for (int i = 0; i < 4; ++i) {{
    sums[i] = 0x1p+0f;
  }}
  {barrier}
  {load_a}((&(*(uint4*)(a_ + 0))), (&(s[{row_a}])));
  {load_b}((&(*(uint2*)(b_ + 0))), (&(s[{left} + {row_b}])));
  {rounding}
  for (int i = 0; i < 2; ++i) {{
    multiply_{form}((&(*(float4*)(sums + 0))), (&(*(uint4*)(a_ + 0))), (&(*(uint2*)(b_ + 0))));
  }}
  for (int i = 0; i < 4; ++i) {{
    o[warp * 128 + (i / 2 * 8 + t / 4) * 8 + t % 4 * 2 + i % 2] = sums[i];
  }}
"""
WARPS = 3
ROW_A = {False: "(t & 15) * 16 + (t >> 4) * 8", True: "((t >> 4) * 8 + (t & 7)) * 16 + (t & 8)"}
ROW_B = {False: "(t & 7) * 16 + (t & 8)", True: "(t & 15) * 8"}


def product_bf16(a_by_columns: bool, b_by_rows: bool, barrier: str) -> Module:
    """Of 16 x 16 by 16 x 8 halves; a lies by rows or by columns, b by columns or by rows."""
    turned = {False: "", True: "_transposed"}
    text = PRODUCT.format(
        type="ushort",
        left=256,
        right=128,
        barrier=barrier,
        load_a="load_matrices" + turned[a_by_columns],
        load_b="load_matrix_pairs" + turned[b_by_rows],
        row_a=ROW_A[a_by_columns],
        row_b=ROW_B[b_by_rows],
        rounding="",
        form="bf16",
    )
    return emulator.compile(kernel("ushort* a, ushort* b, float* o", REGISTERS + text))


def product_tf32(rounding: str) -> Module:
    """Of 16 x 8 by 8 x 8 floats; a lies by rows, b by columns."""
    text = PRODUCT.format(
        type="float",
        left=128,
        right=64,
        barrier="wait_warp();",
        load_a="load_matrices",
        load_b="load_matrix_pairs",
        row_a="(t & 15) * 8 + (t >> 4) * 4",
        row_b="(t & 7) * 8 + (t & 8) / 2",
        rounding=rounding,
        form="tf32",
    )
    return emulator.compile(kernel("float* a, float* b, float* o", REGISTERS + text))


def multiplied(module: Module, a: Array, b: Array, order: Order) -> Array:
    """For each warp 1 + 2 a b."""
    found = np.full((WARPS, 16, 8), np.nan, np.float32)
    pointers = [array.ctypes.data for array in (a, b, found)]
    module["f"]((1, 1, 1), (32, WARPS, 1), pointers, order, WARPS * 384 * 4)
    return found


def assert_product(found: Array, a: Array, b: Array) -> None:
    """Up to the rounding of a sum of floats."""
    exact = 1 + 2 * (a.astype(np.float64) @ b)
    bound = 1 + 2 * (abs(a).astype(np.float64) @ abs(b))
    assert (abs(found - exact) <= 40 * np.finfo(np.float32).eps * bound).all()


@cases(full=40, sample=8)
@given(
    seed=SEEDS,
    order=st.sampled_from(ORDERS),
    a_by_columns=st.booleans(),
    b_by_rows=st.booleans(),
    barrier=st.sampled_from(["wait_warp();", BARRIER]),
)
def test_a_product_of_bf16_matrices(
    seed: int, order: Order, a_by_columns: bool, b_by_rows: bool, barrier: str
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (
        rounded(rng.standard_normal(shape).astype(np.float32), "bf16")
        for shape in ((WARPS, 16, 16), (WARPS, 16, 8))
    )
    stored = [a.swapaxes(1, 2) if a_by_columns else a, b if b_by_rows else b.swapaxes(1, 2)]
    given = [halves(np.ascontiguousarray(each)) for each in stored]
    module = product_bf16(a_by_columns, b_by_rows, barrier)
    assert_product(multiplied(module, given[0], given[1], order), a, b)


def cut(x: Array) -> Array:
    """Without the bits that a tensor core does not read."""
    return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


ROUND = "round_tf32((&(*(uint4*)(a_ + 0)))); round_tf32_pair((&(*(uint2*)(b_ + 0))));"


@cases(full=40, sample=8)
@given(seed=SEEDS, order=st.sampled_from(ORDERS), nearest=st.booleans())
def test_a_product_of_tf32_matrices(seed: int, order: Order, nearest: bool) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((WARPS, 16, 8)).astype(np.float32)
    b = rng.standard_normal((WARPS, 8, 8)).astype(np.float32)
    module = product_tf32(ROUND if nearest else "")
    found = multiplied(module, a, np.ascontiguousarray(b.swapaxes(1, 2)), order)
    if nearest:
        assert_product(found, rounded(a, "tf32"), rounded(b, "tf32"))
    else:
        assert_product(found, cut(a), cut(b))


# --------------------------------------------------------------------------------- waiting

EXCHANGE = """
  __shared__ alignas(64) float s[64];
  int warp = ((int)threadIdx.y) * 32;
  s[warp + t] = a[warp + t];
  {wait}
  o[warp + t] = s[warp + (t + shift[0]) % 32];
"""


@cases(full=20, sample=5)
@given(shift=st.integers(1, 31), order=st.sampled_from(ORDERS))
def test_lanes_see_what_the_others_wrote(shift: int, order: Order) -> None:
    values = np.arange(64, dtype=np.float32).reshape(2, 32)
    for wait, right in (("wait_warp();", True), ("", False)):
        text = REGISTERS + EXCHANGE.format(wait=wait)
        module = emulator.compile(kernel("float* a, int* shift, float* o", text))
        found = np.zeros_like(values)
        places = np.array([shift], np.int32)
        launch(module, (1, 1, 1), (32, 2, 1), values, places, found, order=order)
        assert np.array_equal(found, np.roll(values, -shift, axis=1)) == right


TOGETHER = {
    "wait_warp": "wait_warp();",
    "load": "load_matrices((uint4*)a_, s);",
    "multiply": "multiply_tf32((float4*)sums, (uint4*)a_, (uint2*)b_);",
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("what", TOGETHER)
def test_a_missing_lane_is_reported(what: str, order: Order) -> None:
    lines = (
        "__shared__ alignas(64) float s[64];",
        "if (((int)threadIdx.y) == 0 || t != 7) {",
        TOGETHER[what],
        "}",
        BARRIER,
    )
    module = emulator.compile(kernel("float* a", REGISTERS + "\n".join(lines)))
    last = {"forward": (0, 1, 0), "backward": (31, 1, 0)}[order]
    complaint = (
        f"block (0, 0, 0), thread {last}: 31 of its warp's 32 lanes wait for the others in line "
        "10, while others wait in line 12; expected all lanes at what a warp does together"
    )
    with pytest.raises(Error, match=re.escape(complaint)):
        launch(module, (1, 1, 1), (32, 2, 1), np.zeros(1), order=order)


def test_a_missing_warp_is_reported() -> None:
    text = f"{REGISTERS}wait_warp();\nif (threadIdx.y == 0) {{\n{BARRIER}\n}}"
    module = emulator.compile(kernel("float* a", text))
    with pytest.raises(Error, match=r"32 of 64 threads wait at the .* line 10, .* have ended"):
        launch(module, (1, 1, 1), (32, 2, 1), np.zeros(1))


@pytest.mark.parametrize("order", ORDERS)
def test_warps_need_not_do_the_same(order: Order) -> None:
    text = f"""
      int warp = ((int)threadIdx.y);
      for (int i = 0; i < warp; ++i) {{
        wait_warp();
      }}
      {BARRIER}
      o[warp * 32 + t] += 1;
    """
    found = np.zeros(96, np.float32)
    module = emulator.compile(kernel("float* o", REGISTERS + text))
    launch(module, (5, 1, 1), (32, 3, 1), found, order=order)
    assert (found == 5).all()


@pytest.mark.parametrize("block", [(16, 1, 1), (33, 1, 1), (7, 3, 1)])
def test_warps_are_full(block: tuple[int, int, int]) -> None:
    module = emulator.compile(kernel("float* o", "wait_warp();"))
    with pytest.raises(Error, match="threads, expected full warps of 32"):
        launch(module, (1, 1, 1), block, np.zeros(1))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("row", "complaint"),
    [("s + (t == 9 ? 2 : 0)", "no multiple of its size"), ("t == 9 ? a : s", "shared memory")],
)
def test_rows_of_matrices_lie_in_shared_memory(row: str, complaint: str, order: Order) -> None:
    text = f"__shared__ alignas(64) float s[64]; load_matrix_pairs((uint2*)b_, {row});"
    module, memory = emulator.compile(kernel("float* a", REGISTERS + text)), np.zeros(4)
    with pytest.raises(Error, match=rf"block \(0, 0, 0\), thread \(9, 0, 0\): .*{complaint}"):
        launch(module, (1, 1, 1), (32, 1, 1), memory, order=order)
