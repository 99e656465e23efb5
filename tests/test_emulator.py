"""CUDA C on the host does what a GPU does, and says where a GPU would not be defined."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cuda import emulator
from codegen.cuda.emulator import Module, Order
from codegen.cuda.emulator_launch import Extent
from ir.command import Error
from ir.op import Array
from tests.counts import cases

ORDERS: tuple[Order, ...] = ("forward", "backward")
BARRIER = "__syncthreads();"
EXTENTS = st.tuples(*[st.integers(1, 5)] * 3)

needs_compiler = pytest.mark.skipif(not emulator.available(), reason="no C++ compiler")


def kernel(parameters: str, body: str, *, name: str = "f", bounds: int = 1024) -> str:
    """A kernel as TVM prints it: declared, then defined."""
    head = f'extern "C" __global__ void __launch_bounds__({bounds}) {name}({parameters})'
    return f"{head};\n{head} {{\n{body}\n}}\n"


def launch(
    module: Module, grid: Extent, block: Extent, *arrays: Array, order: Order = "forward"
) -> None:
    module["f"](grid, block, [array.ctypes.data for array in arrays], order)


def on_lanes(body: str, *inputs: Array, result: Any = np.float32) -> Array:
    """One number for each of 32 threads: `body` computes z from x0, x1, ..."""
    types = {np.float32: "float", np.int32: "int", np.uint8: "uchar", np.uint64: "uint64_t"}
    names = [(types[array.dtype.type], f"x{place}") for place, array in enumerate(inputs)]
    parameters = [f"{type_}* __restrict__ {name}_" for type_, name in names]
    loads = "".join(f"{type_} {name} = {name}_[threadIdx.x];\n" for type_, name in names)
    text = f"{loads}{types[result]} z;\n{body}\nz_[threadIdx.x] = z;"
    found = np.zeros(32, result)
    module = emulator.compile(kernel(", ".join([*parameters, f"{types[result]}* z_"]), text))
    launch(module, (1, 1, 1), (32, 1, 1), *inputs, found)
    return found


# ---------------------------------------------------------------------------- launches


@pytest.fixture(scope="module", params=["", BARRIER], ids=["plain", "barrier"])
def places(request: pytest.FixtureRequest) -> Module:
    """Each thread tells its own place, and that it ran."""
    text = f"""
      uint block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      uint thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
      uint* own = o + 7 * (block * blockDim.x * blockDim.y * blockDim.z + thread);
      {request.param}
      own[0] = blockIdx.z; own[1] = blockIdx.y; own[2] = blockIdx.x;
      own[3] = threadIdx.z; own[4] = threadIdx.y; own[5] = threadIdx.x;
      own[6] += 1;
    """
    return emulator.compile(kernel("uint* __restrict__ o", text))


@needs_compiler
@cases(full=100, sample=20)
@given(grid=EXTENTS, block=EXTENTS, order=st.sampled_from(ORDERS))
def test_every_thread_runs_once(places: Module, grid: Extent, block: Extent, order: Order) -> None:
    extents = (*reversed(grid), *reversed(block))
    found = np.zeros((*extents, 7), np.uint32)
    launch(places, grid, block, found, order=order)
    assert np.array_equal(found[..., :6], np.moveaxis(np.indices(extents), 0, -1))
    assert (found[..., 6] == 1).all()


SUM = """
  __shared__ alignas(64) float sums[1024];
  int t = ((int)threadIdx.x);
  sums[t] = a[((int)blockIdx.x) * ((int)blockDim.x) + t];
  for (int step = ((int)blockDim.x) / 2; step > 0; step = step / 2) {
    __syncthreads();
    if (t < step) {
      sums[t] = sums[t] + sums[t + step];
    }
  }
  if (t == 0) {
    o[((int)blockIdx.x)] = sums[0];
  }
"""


@pytest.fixture(scope="module")
def sums() -> Module:
    return emulator.compile(kernel("float* __restrict__ a, float* __restrict__ o", SUM))


@needs_compiler
@cases(full=100, sample=20)
@given(seed=st.integers(0, 999), blocks=st.integers(1, 9), log=st.integers(0, 10))
def test_sums_through_shared_memory(sums: Module, seed: int, blocks: int, log: int) -> None:
    values = np.random.default_rng(seed).integers(-99, 99, (blocks, 2**log)).astype(np.float32)
    for order in ORDERS:
        found = np.full(blocks, np.nan, np.float32)
        launch(sums, (blocks, 1, 1), (2**log, 1, 1), values, found, order=order)
        assert np.array_equal(found, values.sum(axis=1))


@needs_compiler
def test_shared_memory_begins_as_nan() -> None:
    text = """
      __shared__ alignas(64) float own[32];
      o[blockIdx.x * 32 + threadIdx.x] = own[threadIdx.x];
      own[threadIdx.x] = 0x1p+0f;
    """
    found = np.zeros((4, 32), np.float32)
    launch(emulator.compile(kernel("float* o", text)), (4, 1, 1), (32, 1, 1), found)
    assert np.isnan(found).all()


@needs_compiler
def test_launches_of_one_source_follow_each_other() -> None:
    pair = kernel("float* o", "o[threadIdx.x] = 2;", name="f") + kernel(
        "float* o", f"{BARRIER} o[threadIdx.x] *= 3;", name="g"
    )
    module, found = emulator.compile(pair), np.zeros(32, np.float32)
    for symbol in ("f", "g"):
        module[symbol]((1, 1, 1), (32, 1, 1), [found.ctypes.data])
    assert (found == 6).all()


# ---------------------------------------------------------------------------- barriers


def neighbours(values: Array, shift: int, memory: str, barrier: str) -> list[Array]:
    """What 64 threads read that their neighbours wrote, in either order of the threads."""
    array = {"shared": "__shared__ alignas(64) float s[64];", "global": "float* s = scratch;"}
    text = f"""
      {array[memory]}
      int t = ((int)threadIdx.x);
      {BARRIER}
      s[t] = a[t];
      {barrier}
      o[t] = s[(t + {shift}) % 64];
    """
    module = emulator.compile(kernel("float* a, float* scratch, float* o", text))
    results = np.full((2, 64), np.nan, np.float32)
    for order, result in zip(ORDERS, results, strict=True):
        scratch = np.full(64, np.nan, np.float32)
        launch(module, (1, 1, 1), (64, 1, 1), values, scratch, result, order=order)
    return list(results)


@needs_compiler
@cases(full=20, sample=3)
@given(shift=st.integers(1, 63), memory=st.sampled_from(["shared", "global"]))
def test_missing_barrier_shows(shift: int, memory: str) -> None:
    values = np.arange(64, dtype=np.float32)
    for found in neighbours(values, shift, memory, BARRIER):
        assert np.array_equal(found, np.roll(values, -shift))
    forward, backward = neighbours(values, shift, memory, "")
    assert forward.tobytes() != backward.tobytes()


DIVERGENT = f"""
  if (((int)threadIdx.y) * 32 + ((int)threadIdx.x) < reach[0]) {{
    {BARRIER}
  }}
"""


@pytest.fixture(scope="module")
def divergent() -> Module:
    return emulator.compile(kernel("int* reach", DIVERGENT))


@needs_compiler
@cases(full=65, sample=20)
@given(reach=st.integers(0, 64), order=st.sampled_from(ORDERS))
def test_divergent_barrier_is_reported(divergent: Module, reach: int, order: Order) -> None:
    def run() -> None:
        launch(divergent, (2, 3, 1), (32, 2, 1), np.array([reach], np.int32), order=order)

    if reach in (0, 64):
        run()
        return
    block = {"forward": (0, 0, 0), "backward": (1, 2, 0)}[order]
    where = f"'f': block {block}: {reach} of 64 threads wait at the barrier in line 5"
    with pytest.raises(Error, match=re.escape(where) + ".* ended; expected all threads"):
        run()


@needs_compiler
def test_two_barriers_are_not_one() -> None:
    text = f"if (threadIdx.x < 9) {{\n{BARRIER}\n}} else {{\n{BARRIER}\n}}"
    module = emulator.compile(kernel("float* o", text))
    with pytest.raises(Error, match=r"9 of 32 threads wait .* line 4, while others wait in line 6"):
        launch(module, (1, 1, 1), (32, 1, 1), np.zeros(1))


# ----------------------------------------------------------------------------- vectors

VECTORS = {"float2": 8, "float4": 16, "int2": 8, "uint4": 16, "uchar4": 4, "ulonglong2": 16}


@needs_compiler
@pytest.mark.parametrize("barrier", ["", BARRIER])
@pytest.mark.parametrize("vector", VECTORS)
def test_vectors_lie_at_multiples_of_their_size(vector: str, barrier: str) -> None:
    size = VECTORS[vector]
    text = f"""
      {vector} own = *({vector}*)(a + threadIdx.x * {size});
      {barrier}
      *({vector}*)(o + threadIdx.x * {size}) = own;
    """
    module = emulator.compile(kernel("uchar* a, uchar* o", text))
    given, found = np.arange(1, 64 * 16 + 1).astype(np.uint8), np.zeros(64 * 16, np.uint8)
    for shift in range(0, 2 * size, 2):
        for pointers in ((given[shift:], found), (given, found[shift:])):
            found[:] = 0
            if shift % size:
                with pytest.raises(
                    Error, match=r"'f': block \(0, 0, 0\), thread \(0, 0, 0\): .*mul"
                ):
                    launch(module, (1, 1, 1), (32, 1, 1), *pointers)
            else:
                launch(module, (1, 1, 1), (32, 1, 1), *pointers)
                assert np.array_equal(pointers[1][: 32 * size], pointers[0][: 32 * size])


@needs_compiler
@pytest.mark.parametrize("barrier", ["", BARRIER])
@pytest.mark.parametrize(("order", "thread"), [("forward", (1, 0, 0)), ("backward", (31, 1, 0))])
def test_misaligned_threads_are_named(order: Order, thread: Extent, barrier: str) -> None:
    text = f"{barrier} float2 own = *(float2*)(a + threadIdx.x); *(float2*)a = own;"
    module, memory = emulator.compile(kernel("float* a", text)), np.zeros(33, np.float32)
    with pytest.raises(Error, match=re.escape(f"'f': block (0, 0, 0), thread {thread}: ")):
        launch(module, (1, 1, 1), (32, 2, 1), memory, order=order)


@needs_compiler
def test_bytes_of_a_word() -> None:
    """As TVM prints four bytes that become floats."""
    word = "uint w = *(uint*)(x0_ + threadIdx.x / 4 * 4);"
    read = "z = (float)((reinterpret_cast<const unsigned char*>(&(w))[threadIdx.x % 4]));"
    values = np.arange(200, 232).astype(np.uint8)
    assert np.array_equal(on_lanes(f"{word}\n{read}", values), values.astype(np.float32))


# -------------------------------------------------------------------------------- math


@pytest.fixture
def floats() -> Array:
    """Of all sizes, denormal ones too."""
    bits = np.random.default_rng(7).integers(0, 0x7F800000, (3, 32))
    return bits.astype(np.uint32).view(np.float32)


@needs_compiler
def test_rounds_as_ieee(floats: Array) -> None:
    x, y, _ = floats
    with np.errstate(all="ignore"):
        assert np.array_equal(on_lanes("z = x0 / x1;", x, y), x / y)
    assert np.array_equal(on_lanes("z = sqrtf(x0);", x), np.sqrt(x))
    small = np.arange(1, 33, dtype=np.int32)
    denormal = on_lanes("z = (*(float *)(&(x0))) + 0x0p+0f;", small)
    assert np.array_equal(denormal.view(np.int32), small)


@needs_compiler
def test_a_number_wins_over_nan(floats: Array) -> None:
    x, y = floats[0], np.where(np.arange(32) % 2, floats[1], np.float32(np.nan))
    for call, meant in (("max", np.fmax), ("min", np.fmin)):
        for pair in ((x, y), (y, x)):
            found = on_lanes(f"z = {call}(x0, x1);", *pair)
            assert np.array_equal(found, meant(*pair))
    nan = on_lanes("z = (x0 < 0x0p+0f) ? CUDART_INF_F : CUDART_NAN_F;", x)
    assert np.isnan(nan).all()


@needs_compiler
def test_integers_wrap() -> None:
    x = np.random.default_rng(3).integers(0, 2**63, 32).astype(np.uint64)
    product = on_lanes(
        "z = (x0 * (uint64_t)3528531795ULL) >> (uint64_t)32ULL;", x, result=np.uint64
    )
    assert np.array_equal(product, (x * np.uint64(3528531795)) >> np.uint64(32))
    least = np.full(32, -(2**31), np.int32)
    assert (on_lanes("z = min(x0 - 1, x0);", least, result=np.int32) == -(2**31)).all()


# ---------------------------------------------------------------------------- complaints


@needs_compiler
def test_what_comes_before_the_kernels_does_not_count() -> None:
    text = "#include <cuda.h>\n#include <no/such/file>\n" + kernel("float* o", "o[0] = 1;\noops;")
    with pytest.raises(Error, match=r"(?s)for the host:.*kernels\.cu:6:.*'?oops"):
        emulator.compile(text)
    found = np.zeros(1, np.float32)
    launch(emulator.compile(text.replace("oops", "")), (1, 1, 1), (1, 1, 1), found)
    assert found[0] == 1


@needs_compiler
@pytest.mark.parametrize(
    ("grid", "block", "pointers", "what"),
    [
        ((1, 1, 1), (32, 3, 1), 1, "blocks of 96 threads, expected <= 64"),
        ((1, 0, 1), (32, 1, 1), 1, "expected extents >= 1"),
        ((1, 1, 1), (32, 1, 1), 2, "2 pointers, expected 1"),
    ],
)
def test_refused_launches(grid: Extent, block: Extent, pointers: int, what: str) -> None:
    module = emulator.compile(kernel("float* o", "o[0] = 1;", bounds=64))
    with pytest.raises(Error, match=f"kernel 'f': .*{what}"):
        module["f"](grid, block, [0] * pointers)


@needs_compiler
def test_unknown_kernels() -> None:
    module = emulator.compile(kernel("float* o", "o[0] = 1;"))
    with pytest.raises(Error, match="no kernel 'g' in the source, expected f"):
        module["g"]
    with pytest.raises(Error, match="no kernel in the source"):
        emulator.compile("void f(float* o) {}")


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not emulator.available()
    with pytest.raises(Error, match=r"no C\+\+ compiler among .*apt install"):
        emulator.compile(kernel("float* o", "o[0] = 4711;"))
