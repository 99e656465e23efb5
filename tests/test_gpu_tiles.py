"""Tiles of a GPU's kernels: which a search tries and keeps, and what a record of them says."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.cache import Cache, Compiled
from codegen.compile import Job, compile_one, compile_some
from codegen.cost.speeds import GUESSES
from codegen.cuda import emulator, toolchain
from codegen.kernels.cuda.form import BF16, F32, TF32
from codegen.kernels.cuda.product import engine_of
from codegen.kernels.cuda.tile import Size, next_best
from codegen.keys import key_of
from codegen.targets import Cuda
from codegen.tuning import records
from codegen.tuning.cuda import search
from codegen.tuning.cuda.search import CANDIDATES, candidates
from codegen.tuning.parameters import Shape, tile_class
from codegen.tuning.records import Records
from ir.command import Error
from ir.eval import run_graph
from ir.graph import Graph
from ir.plan import Plan
from ir.printer import print_graph
from ir.text import parse
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import SEEDS
from tests.kernels import Kernel
from tests.simulated_clock import ARCHES, drawn, made, simulate, ticking
from tests.test_contractions import random_values

GROUPS = Cuda("fast", ("sm_90a",), "fake 1.0")
BOTH = dataclasses.replace(GROUPS, arches=ARCHES)


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


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be compiled."""
    simulate(monkeypatch)


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
