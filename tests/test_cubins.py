"""A region's launches and its CUDA C: from what a kernel's writer wrote to files and records."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import ir, tirx

from codegen.cuda import cubins, emulator, toolchain
from codegen.cuda.compiler import Binary, Compiler, Resources
from codegen.cuda.cubins import compiled
from codegen.cuda.generated import DYNAMIC, SCRATCH, generated
from codegen.cuda.source import PROLOGUE, functions, shortened
from codegen.kernels import build
from codegen.kernels.cuda.tile import Tile, next_best
from codegen.kernels.cuda.writer import Built
from codegen.loops import Loops
from codegen.targets import Cuda
from ir.command import Error
from ir.graph import Graph
from ir.text import parse
from tests.counts import cases

TARGET = Cuda("none", ("sm_80", "sm_90a"), "none")
REGION = parse("""graph region {
  a0: f32[32,4] = input()
  a1: f32[32,4] = state()
  v0: f32[32,4] = relu(a0)
  v1: f32[32,4] = add(a1, v0)
  output v0
  update a1 = v1
}
""")
CONTRACTION = parse("""graph region {
  a0: bf16[128,512] = input()
  a1: bf16[300,512] = param()
  v0: bf16[128,300] = dense(a0, a1)
  output v0
}
""")
NAMES = ("a0", "a1", "v0", "scratch")
PLACES = {"a0": 0, "a1": 1, "v0": 2, "scratch": SCRATCH}


class Kernel(Loops):
    """A kernel of a few launches over the pointers of `REGION`, or over others."""

    def __init__(self, *names: str, dtype: str = "float32") -> None:
        super().__init__()
        types = [ir.PointerType(ir.PrimType(dtype)) for _ in names or NAMES]
        self.pointers = list(map(tirx.Var, names or NAMES, types))
        self._dtype = dtype

    def view(self, place: int) -> Any:
        return self.buffer(self.pointers[place], (1 << 20,), self._dtype)

    def launch(self, *places: int, blocks: int = 1, warps: int = 1) -> None:
        """Adds 1 in all the places."""
        with self.launched(threadIdx_y=warps, threadIdx_x=32, blockIdx_x=blocks) as indices:
            warp, lane, block = indices
            for array in map(self.view, places):
                at = (block * warps + warp) * 32 + lane
                self.store(array, array[at] + tirx.const(1, self._dtype), at)

    def turn(self, count: int, *places: int) -> None:
        """Reverses 32 elements in all the places, through an array of its own size."""
        with self.launched(threadIdx_x=32, blockIdx_x=1) as (lane, _):
            arrays = [self.view(place) for place in places]
            with self.when(lane >= 0):
                passed = self.allocate((count,), self._dtype, DYNAMIC)
                for array in arrays:
                    self.barrier()
                    self.store(passed, array[lane], 31 - lane)
                    self.barrier()
                    self.store(array, passed[lane], lane)

    def built(self, *, noalias: bool = False) -> Built:
        return Built(self.function(self.pointers, device=2, noalias=noalias), 0, ())


# ---------------------------------------------------------------------------- launches


@dataclass(frozen=True)
class Wanted:
    blocks: int
    warps: int
    places: frozenset[int]


wanted = st.builds(
    Wanted,
    st.integers(1, 70_000),
    st.integers(1, 32),
    st.frozensets(st.integers(0, 3), min_size=1),
)


@cases(full=100, sample=12)
@given(st.lists(wanted, min_size=1, max_size=13))
def test_launches_are_those_that_were_written(launches: list[Wanted]) -> None:
    kernel = Kernel()
    for each in [*launches, Wanted(1, 1, frozenset({1, 2}))]:
        kernel.launch(*each.places, blocks=each.blocks, warps=each.warps)
    made = generated(kernel.built(), REGION, TARGET).launches
    for launch, each in zip(made, launches, strict=False):
        assert launch.grid == (each.blocks, 1, 1)
        assert launch.block == (32, each.warps, 1)
        assert sorted(launch.places) == sorted(PLACES[NAMES[place]] for place in each.places)
    assert len({launch.symbol for launch in made}) == len(launches) + 1


def on_host(kernel: Kernel) -> None:
    kernel.launch(1, 2)
    kernel.store(kernel.view(2), tirx.const(1, "float32"), 0)


def in_a_loop(kernel: Kernel) -> None:
    with kernel.serial(4):
        kernel.launch(1, 2)


def on_a_condition(kernel: Kernel) -> None:
    with kernel.when(kernel.view(0)[0] > 0):
        kernel.launch(1, 2)


@pytest.mark.parametrize("write", [on_host, in_a_loop, on_a_condition])
def test_what_the_host_would_do_is_refused(write: Callable[[Kernel], None]) -> None:
    kernel = Kernel()
    write(kernel)
    with pytest.raises(Error, match="does something on the host, expected launches only"):
        generated(kernel.built(), REGION, TARGET)


def test_parameters_are_the_regions_arguments() -> None:
    kernel = Kernel("a0", "a1", "v0", "v7")
    kernel.launch(1, 2, 3)
    expected = "kernel_kernel takes v7, expected some of scratch, a0, a1, v0"
    with pytest.raises(Error, match=expected):
        generated(kernel.built(), REGION, TARGET)


@pytest.mark.parametrize(("places", "name"), [((0, 1), "v0"), ((2, 3), "a1")])
def test_every_output_and_state_is_passed(places: tuple[int, ...], name: str) -> None:
    kernel = Kernel()
    kernel.launch(*places)
    with pytest.raises(Error, match=f"no launch gets '{name}', expected one that writes it"):
        generated(kernel.built(), REGION, TARGET)


# ---------------------------------------------------------------------------- the text


@pytest.mark.parametrize("noalias", [False, True])
def test_the_text_promises_what_the_kernel_does(noalias: bool) -> None:
    kernel = Kernel()
    kernel.launch(1, 2)
    text = generated(kernel.built(noalias=noalias), REGION, TARGET).text
    assert ("__restrict__" in text) == noalias
    assert "#include" not in text
    assert text.startswith(PROLOGUE)
    assert text.count("__global__") == len(functions(text)) == 1


def test_a_text_without_kernels_has_no_functions() -> None:
    assert not functions(shortened("#include <cuda.h>\nint f();\n", noalias=True))


def test_names_of_types_and_numbers_are_those_of_tvm() -> None:
    """Bytes, 64-bit products, infinities: all that needs the prologue."""
    kernel = Kernel("a0", "a1", "v0", "scratch", dtype="uint32")
    with kernel.launched(threadIdx_x=32) as (lane,):
        u, hi, out = (kernel.view(place) for place in (0, 1, 2))
        product = tirx.Cast("uint64", u[lane]) * tirx.const(0xD2511F53, "uint64")
        high = tirx.Cast("uint32", tirx.shift_right(product, tirx.const(32, "uint64")))
        byte = tirx.Cast("uint32", tirx.Cast("uint8", u[lane]))
        signed = tirx.Cast("int64", u[lane]) - tirx.const(2**33, "int64")
        special = tirx.Select(
            lane % 2 == 0, tirx.const(-inf, "float32"), tirx.const(nan, "float32")
        )
        kernel.store(hi, high + byte, lane)
        kernel.store(out, tirx.Cast("uint32", signed < tirx.const(0, "int64")), lane)
        kernel.store(u, tirx.reinterpret("uint32", special), lane)
    made = generated(kernel.built(), REGION, TARGET)
    u32 = np.arange(32, dtype=np.uint32) * np.uint32(123456789)
    arrays = [u32.copy(), np.zeros(32, np.uint32), np.zeros(32, np.uint32)]
    (launch,) = made.launches
    run = emulator.compile(made.text)[launch.symbol]
    run(launch.grid, launch.block, [arrays[place].ctypes.data for place in launch.places])
    expected = (u32.astype(np.uint64) * np.uint64(0xD2511F53) >> np.uint64(32)) + (u32 & 255)
    np.testing.assert_array_equal(arrays[1], expected.astype(np.uint32))
    assert arrays[2].all()
    floats = arrays[0].view(np.float32)
    assert (floats[::2] == -inf).all()
    assert np.isnan(floats[1::2]).all()


# ---------------------------------------------------------------------- shared memory

ITEMS = {"float32": 4, "uint16": 2, "float64": 8}


@cases(full=40, sample=8)
@given(counts=st.lists(st.integers(32, 10_000), max_size=3), dtype=st.sampled_from(sorted(ITEMS)))
def test_launches_ask_for_their_arrays(counts: list[int], dtype: str) -> None:
    kernel = Kernel(dtype=dtype)
    for count in counts:
        kernel.turn(count, 2)
    kernel.launch(1, 2)
    launches = generated(kernel.built(), REGION, TARGET).launches
    assert [each.dynamic for each in launches] == [*(ITEMS[dtype] * each for each in counts), 0]


@pytest.mark.skipif(not emulator.available(), reason="no C++ compiler")
def test_what_they_ask_for_is_enough() -> None:
    kernel = Kernel()
    kernel.turn(32, 1, 2)
    made = generated(kernel.built(), REGION, TARGET)
    (launch,) = made.launches
    arrays = [np.arange(32, dtype=np.float32) * scale for scale in (1, 3)]
    pointers = [arrays[place - 1].ctypes.data for place in launch.places]
    run = emulator.compile(made.text)[launch.symbol]
    run(launch.grid, launch.block, pointers, shared=launch.dynamic)
    for scale, array in zip((1, 3), arrays, strict=True):
        assert np.array_equal(array, np.arange(31, -1, -1, dtype=np.float32) * scale)


# ---------------------------------------------------------------------------- binaries


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Graph:
    """Its kernel has two launches."""
    kernel = Kernel()
    kernel.launch(0, 3, blocks=7)
    kernel.launch(1, 2, 3, warps=4)
    monkeypatch.setattr(cubins, "build", lambda *_: replace(kernel.built(), scratch=4096))
    return REGION


@dataclass(frozen=True)
class Fake(Compiler):
    """Reports, by architecture and place of the function, what a test says."""

    needs: dict[tuple[str, int], Resources]

    def compile(self, source: str, arch: str) -> Binary:
        found = {
            symbol: self.needs.get((arch, place), Resources(16, 0, 0, 0))
            for place, symbol in enumerate(functions(source))
        }
        return Binary(f"{arch} {source}".encode(), found)


def use(patch: pytest.MonkeyPatch, needs: dict[tuple[str, int], Resources]) -> None:
    patch.setattr(toolchain, "find", lambda: Fake("fake 1.0", TARGET.arches, needs))


def test_files_and_records_tell_all(region: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    use(
        monkeypatch,
        {
            ("sm_80", 0): Resources(40, 512, 0, 0),
            ("sm_90a", 0): Resources(32, 1024, 0, 0),
            ("sm_90a", 1): Resources(255, 0, 0, 0),
        },
    )
    made = compiled(region, TARGET)
    assert set(made.files) == {f".{a}.{kind}" for a in TARGET.arches for kind in ("cubin", "cu")}
    assert made.files[".sm_80.cubin"] == b"sm_80 " + made.files[".sm_80.cu"]
    taken = {"sm_80": [(40, 512), (16, 0)], "sm_90a": [(32, 1024), (255, 0)]}
    for arch, variant in made.variants.items():
        assert variant.scratch == 4096
        launches = variant.launches
        assert [(each.registers, each.shared) for each in launches] == taken.pop(arch)
        assert [each.symbol for each in launches] == ["kernel_kernel", "kernel_kernel_1"]
        assert [sorted(each.places) for each in launches] == [[-1, 0], [-1, 1, 2]]
    assert not taken


# Bytes of one launch, where ptxas reports 512 more.
@pytest.mark.parametrize(
    ("arch", "most"), [("sm_80", 163 << 10), ("sm_86", 99 << 10), ("sm_90a", 227 << 10)]
)
def test_shared_memory_that_an_architecture_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch, arch: str, most: int
) -> None:
    use(monkeypatch, {(arch, 0): Resources(16, 512, 0, 0)})
    for dynamic, refused in ((most - 512, False), (most - 508, True)):
        kernel = Kernel()
        kernel.turn(dynamic // 4, 1, 2)
        monkeypatch.setattr(cubins, "build", lambda *_, own=kernel: own.built())
        if refused:
            said = f"kernel_kernel for {arch} takes {most + 4:,} bytes of sh.* at most {most:,}; in"
            with pytest.raises(Error, match=said):
                compiled(REGION, Cuda("none", (arch,), "none"))
        else:
            made = compiled(REGION, Cuda("none", (arch,), "none"))
            (launch,) = made.variants[arch].launches
            assert (launch.shared, launch.dynamic) == (512, dynamic)


@pytest.mark.parametrize(("stack", "spills"), [(8, 0), (0, 4)])
@pytest.mark.parametrize("arch", TARGET.arches)
def test_memory_of_a_threads_own_is_refused(
    region: Graph, monkeypatch: pytest.MonkeyPatch, arch: str, stack: int, spills: int
) -> None:
    use(monkeypatch, {(arch, 1): Resources(255, 0, stack, spills)})
    said = f"kernel_kernel_1 for {arch} has a stack of {stack} bytes and spills {spills}, expected"
    with pytest.raises(Error, match=rf"{said} registers only; in this region:\ngraph region"):
        compiled(region, TARGET)


@dataclass(frozen=True)
class Roomy(Fake):
    """All texts spill but one."""

    fitting: str

    def compile(self, source: str, arch: str) -> Binary:
        spills = 0 if source == self.fitting else 4
        needs = dict.fromkeys(functions(source), Resources(255, 0, 0, spills))
        return Binary(source.encode(), needs)


def test_the_next_best_tile_is_taken_where_one_spills(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for a tile that is asked for: to measure it, one must get it."""
    target = Cuda("none", ("sm_90a",), "none")
    best = tile_of(target)
    *_, third = next_best(best, 3)
    own = target.shaped(third.shape)
    text = generated(contraction(own), CONTRACTION, own).text
    monkeypatch.setattr(toolchain, "find", lambda: Roomy("roomy 1.0", TARGET.arches, {}, text))
    made = compiled(CONTRACTION, target)
    assert made.files[".sm_90a.cu"] == text.encode()
    assert made == compiled(CONTRACTION, own)
    with pytest.raises(Error, match="spills 4, expected registers only"):
        compiled(CONTRACTION, target.shaped(best.shape))


def contraction(target: Cuda) -> Built:
    made = build(CONTRACTION, target)
    assert isinstance(made, Built)
    return made


def tile_of(target: Cuda) -> Tile:
    tile = contraction(target).tile
    assert tile
    return tile


def test_a_refusal_shows_the_region(region: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Compiler:
        raise Error("no compiler of CUDA C")

    monkeypatch.setattr(toolchain, "find", refuse)
    with pytest.raises(Error, match=r"no compiler of CUDA C; in this region:\ngraph region \{"):
        compiled(region, TARGET)


def test_the_compiler_here_takes_the_text(region: Graph) -> None:
    try:
        known = set(toolchain.find().arches)
    except Error as error:
        pytest.skip(str(error))
    assert known.issuperset(TARGET.arches)
    made = compiled(region, TARGET)
    assert all(made.files[f".{arch}.cubin"].startswith(b"\x7fELF") for arch in TARGET.arches)
    launches = (each for variant in made.variants.values() for each in variant.launches)
    assert all(0 < launch.registers < 64 for launch in launches)
    assert compiled(region, TARGET) == made
