"""What is measured of a GPU, by a simulated clock: ceilings and tiles; builds that use them."""

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen import build, devices, tune
from codegen.cache import Cache, Compiled
from codegen.compile import Job, compile_one, compile_some
from codegen.cost.speeds import GUESSES
from codegen.cuda import emulator, toolchain
from codegen.cuda.compiler import Compiler
from codegen.kernels.cuda.form import BF16, F32, TF32
from codegen.kernels.cuda.product import engine_of
from codegen.kernels.cuda.tile import Size, next_best
from codegen.keys import key_of
from codegen.targets import Cuda
from codegen.tuning import records
from codegen.tuning.cuda import ceiling_kernels, ceilings, search, timing
from codegen.tuning.cuda.search import CANDIDATES, candidates
from codegen.tuning.parameters import Shape, tile_class
from codegen.tuning.records import Records
from ir import plan as plans
from ir.command import Error, Exit
from ir.eval import run_graph
from ir.graph import Graph
from ir.plan import Cubins, Plan
from ir.printer import print_graph
from ir.text import parse
from runtime.cuda.driver import Gpu
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS
from tests.kernels import Kernel
from tests.test_build import NETWORK
from tests.test_contractions import random_values
from tests.test_gpu_speeds import CEILINGS, H200
from tests.uncompiled import nothing, skip_compiling

GROUPS = Cuda("fast", ("sm_90a",), "fake 1.0")
BOTH = dataclasses.replace(GROUPS, arches=("sm_80", "sm_90a"))


def dense(images: int = 70, math: str = "f32") -> Graph:
    """A layer and what follows it."""
    return parse(f"""graph region {{
      a0: f32[{images},96] = input()
      a1: f32[80,96] = input()
      a2: f32[80] = input()
      v0: f32[{images},80] = dense(a0, a1, math="{math}")
      v1: f32[{images},80] = bias_add(v0, a2)
      output v1
    }}""")


def drawn(text: str) -> float:
    """Seconds that are always the same for a text."""
    return 1e-3 * (1 + Random(text).random())


def ticking(plan: Plan, directory: Path) -> dict[str, float]:
    """A clock by which every kernel takes what is drawn for its name."""
    for kernel in plan.kernels.values():
        assert isinstance(kernel.code, Cubins)
        assert all((directory / cubin.file).exists() for cubin in kernel.code.binaries.values())
    return {name: drawn(name) for name in plan.kernels}


def made(jobs: Mapping[str, Job], cache: Cache | None) -> dict[str, Compiled]:
    """In the place of `compile_some`."""
    return {key: nothing(*job) for key, job in jobs.items()}


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be compiled."""
    skip_compiling(monkeypatch)
    monkeypatch.setattr(search, "compile_some", made)
    monkeypatch.setattr(toolchain, "find", lambda: Compiler("fake 1.0", BOTH.arches))


# ------------------------------------------------------------------------------- tiles

sizes = st.builds(
    Size,
    products=st.integers(1, 300),
    rows=st.integers(1, 500),
    blocks=st.integers(1, 40),
    chunks=st.integers(1, 500),
    depth=st.sampled_from((16, 32)),
    flipped=st.tuples(st.booleans(), st.booleans()),
    form=st.sampled_from((F32, TF32, BF16)),
)


@cases(full=60, sample=10)
@given(sizes, st.sampled_from(["sm_80", "sm_90a"]))
def test_candidates_are_the_cheapest_of_different_shapes(size: Size, arch: str) -> None:
    engine = engine_of(size, BOTH.only(arch))
    best = engine.best_tile(size)
    some = next_best(best, CANDIDATES)
    costs = [best.cost, *(tile.cost for tile in some)]
    assert costs == sorted(costs)
    assert len(some) <= CANDIDATES
    assert len({repr(tile.shape) for tile in (best, *some)}) == 1 + len(some)
    for tile in some:
        assert best.shaped(tile.shape) == tile


@pytest.mark.parametrize(
    "change", [{"rows": 17}, {"parts": 0}, {"parts": 10**6}, {"warps": -1}, {"height": 3}, {"x": 1}]
)
def test_shapes_that_no_tile_has_are_passed_over(change: dict[str, int]) -> None:
    shape = next(candidates(dense(math="tf32"), GROUPS))
    damaged = Shape(shape.tile, shape.numbers | change)
    assert tile_of(GROUPS.shaped(damaged)) == tile_of(GROUPS)
    assert tile_of(GROUPS.shaped(Shape("NoTile", shape.numbers))) == tile_of(GROUPS)


def tile_of(target: Cuda) -> Shape:
    """The one that a kernel gets."""
    return next(candidates(dense(math="tf32"), target))


@pytest.mark.skipif(not emulator.available(), reason="no C++ compiler to run CUDA C with")
@pytest.mark.parametrize(
    ("math", "arch"), [("f32", "sm_80"), ("tf32", "sm_80"), ("tf32", "sm_90a")]
)
@cases(full=6, sample=2)
@given(seed=SEEDS)
def test_a_tile_that_was_measured_changes_no_result(math: str, arch: str, seed: int) -> None:
    graph, rng = dense(math=math), Random(seed)
    feeds, target = random_values(graph, rng), BOTH.only(arch)
    shape = rng.choice(list(candidates(graph, target)))
    kernel = Kernel(graph, target.shaped(shape))
    assert kernel.built.tile.shape == shape  # type: ignore[union-attr]
    (result,) = run_graph(graph, feeds).outputs.values()
    (found,) = kernel.run(feeds).values()
    assert_close(found, result, 1e-5, str(shape))
    (again,) = kernel.run(feeds, order="backward").values()
    assert np.array_equal(found, again)


# ------------------------------------------------------------------------------- search


@pytest.mark.usefixtures("uncompiled")
@cases(full=30, sample=5)
@given(images=st.integers(1, 300), math=st.sampled_from(["f32", "tf32"]))
def test_a_search_keeps_the_fastest(images: int, math: str) -> None:
    region = dense(images, math)
    keys = [key_of(region, GROUPS.shaped(shape)) for shape in candidates(region, GROUPS)]
    assert 1 < len(keys) == len(set(keys)) <= CANDIDATES + 1
    found = search.search(region, GROUPS, ticking, None)
    assert found is not None
    assert (found.before, found.tried) == (drawn(keys[0]), len(keys))
    least = min(map(drawn, keys))
    assert found.seconds == (least if least <= search.WORTH * found.before else found.before)
    assert drawn(key_of(region, GROUPS.shaped(found.shape))) == found.seconds


@pytest.mark.usefixtures("uncompiled")
def test_little_is_no_reason_to_change() -> None:
    def clock(plan: Plan, directory: Path) -> dict[str, float]:
        return {name: 1 - 0.001 * place for place, name in enumerate(plan.kernels)}

    found = search.search(dense(), GROUPS, clock, None)
    assert found is not None
    assert found.shape == next(candidates(dense(), GROUPS))
    assert found.seconds == found.before == 1


@pytest.mark.usefixtures("uncompiled")
def test_tiles_whose_kernel_is_refused_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = candidates(dense(), GROUPS)

    def some(jobs: Mapping[str, Job], cache: Cache | None) -> dict[str, Compiled]:
        accepted = [GROUPS.shaped(shape) for shape in (first, second)]
        return made({key: job for key, job in jobs.items() if job[1] in accepted}, cache)

    monkeypatch.setattr(search, "compile_some", some)
    found = search.search(dense(), GROUPS, ticking, None)
    assert found is not None
    assert found.tried == 2


@pytest.mark.usefixtures("uncompiled")
def test_what_has_no_tile_is_not_timed() -> None:
    region = parse("graph g {\n x: f32[4,3] = input()\n y: f32[4,3] = relu(x)\n output y\n}")
    assert search.search(region, GROUPS, ticking, None) is None
    assert tile_class(region, "fast") is None


# ------------------------------------------------------------------------------- records


def known(arch: str, region: Graph, shape: Shape) -> dict[str, Records]:
    name = tile_class(region, "fast")
    assert name is not None
    return {arch: Records(tiles={name: shape})}


def test_a_class_has_form_epilogue_and_all_shapes() -> None:
    others = [dense(), dense(images=71), dense(math="tf32")]
    layer = dense()
    bare = Graph("bare", layer.nodes[:-1], (layer.nodes[-2],))
    assert len({tile_class(each, "fast") for each in (*others, bare)}) == 4
    assert tile_class(layer, "fast") != tile_class(layer, "none")


def test_tiles_are_their_architecture_s_and_their_class_s() -> None:
    region, other = dense(), dense(images=71)
    shape = list(candidates(region, GROUPS))[1]
    target = BOTH.knowing(known("sm_90a", region, shape))
    assert target.only("sm_90a").tuned(region).shape == shape
    assert target.only("sm_80").tuned(region).shape is None
    assert target.is_measured(region)
    assert not target.only("sm_80").is_measured(region)
    assert not target.is_measured(other)
    assert key_of(region, target) != key_of(region, BOTH)
    assert key_of(other, target) == key_of(other, BOTH)
    alone = GROUPS.knowing(known("sm_90a", region, shape))
    assert key_of(region, alone) == key_of(region, GROUPS.shaped(shape))


shapes = st.builds(Shape, st.text(), st.dictionaries(st.text(), st.integers(-(2**40), 2**40)))


@cases(full=60, sample=15)
@given(st.dictionaries(st.text(), shapes, max_size=4))
def test_tiles_come_back_as_they_were_kept(
    tmp_path_factory: pytest.TempPathFactory, tiles: dict[str, Shape]
) -> None:
    path = tmp_path_factory.mktemp("records") / "sm_90a.json"
    records.keep(path, Records(GUESSES["cuda"], tiles=tiles))
    assert records.read(path) == Records(GUESSES["cuda"], tiles=tiles)


@pytest.mark.parametrize("tile", ["1", "{}", '{"tile": "MmaTile", "numbers": {"rows": "many"}}'])
def test_a_damaged_tile_is_refused(tmp_path: Path, tile: str) -> None:
    (tmp_path / "sm_90a.json").write_text(f'{{"tiles": {{"a": {tile}}}}}')
    with pytest.raises(Error, match=r"sm_90a\.json: is no record of sizes"):
        records.read(tmp_path / "sm_90a.json")


@pytest.mark.full
def test_kernels_that_are_refused_are_left_out(tmp_path: Path) -> None:
    try:
        compiler = toolchain.find()
    except Error as error:
        pytest.skip(str(error))
    target, cache = Cuda("fast", ("sm_90a",), compiler.name), Cache(tmp_path / "cache")
    foreign = dataclasses.replace(target, arches=("sm_999",))
    jobs = {"good": (print_graph(dense()), target), "bad": (print_graph(dense()), foreign)}
    found = compile_some(jobs, cache)
    assert list(found) == ["good"]
    assert cache.get("good") == found["good"]
    assert compile_some({"good": jobs["good"]}, cache) == found


def test_a_compiled_kernel_says_whether_it_has_the_tile() -> None:
    try:
        compiler = toolchain.find()
    except Error as error:
        pytest.skip(str(error))
    region = dense(math="tf32")
    target = Cuda("fast", ("sm_90a",), compiler.name)
    bare, shape = compile_one(print_graph(region), target), list(candidates(region, target))[-1]
    tuned = compile_one(print_graph(region), target.knowing(known("sm_90a", region, shape)))
    assert tuned.tuned
    assert tuned.variants["sm_90a"].launches != bare.variants["sm_90a"].launches
    foreign = Shape(shape.tile, shape.numbers | {"rows": 17})
    passed_over = compile_one(print_graph(region), target.knowing(known("sm_90a", region, foreign)))
    assert dataclasses.replace(passed_over, tuned=True) == bare
    assert not passed_over.tuned


# ------------------------------------------------------------------------------- the command

Built = Callable[..., tuple[Plan, str]]


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uncompiled: None) -> Path:
    """A file; this machine seems to have one GPU, and no record."""
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(records, "SHIPPED", tmp_path / "none")
    monkeypatch.setattr(devices, "gpus", lambda: [H200])
    monkeypatch.setattr(timing, "seconds", ticking)
    monkeypatch.setattr(ceiling_kernels, "build", lambda path, target: None)
    monkeypatch.setattr(ceilings, "measured", lambda path: CEILINGS)
    path = tmp_path / "network.ir"
    path.write_text(NETWORK)
    return path


@pytest.fixture
def built(
    network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Built:
    """A build's plan, and what it prints."""

    def run(arch: str = "sm_90a", *options: str) -> tuple[Plan, str]:
        words = ["--devices", "cuda:0", "--arch", arch, "-o", str(network.parent), *options]
        monkeypatch.setattr(sys, "argv", ["build", str(network), *words])
        capsys.readouterr()
        build.main()
        return plans.read(network.parent / "plan.json"), capsys.readouterr().out

    return run


def tuned(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["tune", *words])
    tune.main()


def contractions(plan: Plan) -> set[str]:
    return {key for key in plan.kernels if key.startswith(("conv", "dense"))}


@pytest.mark.parametrize("what", ["network", "plan"])
def test_the_command_keeps_what_builds_then_use(
    network: Path, monkeypatch: pytest.MonkeyPatch, built: Built, what: str
) -> None:
    before, said = built()
    count = len(contractions(before))
    assert f"0 of {count} measured" in said
    assert before.predicted.origin == "a guess"
    others, _ = built("sm_80")
    built()
    file = {"network": network, "plan": network.parent / "plan.json"}[what]
    tuned(monkeypatch, str(file), "--devices", "1")
    kept = records.read(network.parent / "cache" / "sm_90a.json")
    assert {name.split()[1].split("+")[0] for name in kept.tiles} == {
        key.split("-")[0] for key in contractions(before)
    }
    after, said = built()
    assert f"{count} of {count} measured" in said
    assert "speeds: measured on NVIDIA H200" in said
    assert after.predicted == CEILINGS.speeds(H200)
    assert not contractions(before) & contractions(after)
    assert before.kernels.keys() - contractions(before) == after.kernels.keys() - contractions(
        after
    )
    assert all(after.kernels[key].measured for key in contractions(after))
    assert [len(p.steps) for p in before.programs.values()] == [
        len(p.steps) for p in after.programs.values()
    ]
    assert built("sm_80")[0] == others
    assert built()[0] == after


def test_without_a_file_ceilings_alone_are_measured(
    network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = network.parent / "mine.json"
    tuned(monkeypatch, "-o", str(out))
    assert records.read(out) == Records(CEILINGS.speeds(H200))
    said = capsys.readouterr().out
    assert "one NVIDIA H200 TFLOP/s 64.0 in f32, 400.0 in tf32, 800.0 in bf16; 4000 GB/s" in said
    assert "1.50 us for a launch" in said


def test_some_regions_alone_are_tuned(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned(monkeypatch, str(network), "--only", "dense_dw", "--precision", "bf16")
    kept = records.read(network.parent / "cache" / "sm_90a.json")
    assert {name.split()[2] for name in kept.tiles} == {"bf16"}
    assert all(name.startswith("fast dense_dw") for name in kept.tiles)


def test_a_damaged_record_stops_a_build(network: Path, built: Built) -> None:
    path = network.parent / "cache" / "sm_90a.json"
    path.parent.mkdir(mode=0o700)
    path.write_text("{")
    with pytest.raises(Error, match=r"sm_90a\.json: is no record of sizes.*expected it whole"):
        built()
    assert built("sm_80")


@pytest.mark.parametrize(
    ("options", "gpus", "words"),
    [
        (["--kind", "cuda"], [], "no GPU is here; expected one to measure, its driver and the ex"),
        (["--arch", "sm_90a"], [], "no GPU is here; expected one to measure"),
        (["--arch", "sm_80,sm_90a"], [H200], "sm_80,sm_90a are several; expected the one of NV"),
        (["--arch", "sm_70"], [H200], "unknown architecture 'sm_70'"),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    network: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    gpus: list[Gpu],
    words: str,
) -> None:
    monkeypatch.setattr(devices, "gpus", lambda: gpus)
    monkeypatch.setattr(devices, "_has_driver", lambda: False)
    with pytest.raises(Error, match=re.escape(words)) as caught:
        tuned(monkeypatch, str(network), *options)
    assert caught.value.exit == Exit.USAGE
    assert "\n" not in str(caught.value)
    assert not (network.parent / "cache").exists()
