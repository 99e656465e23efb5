"""Sizes of kernels, by formula and by measurement; records of them, and builds that use these."""

import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen import build, tune
from codegen.cost.speeds import GUESSES
from codegen.kernels.cpu.winograd.choice import candidates, phases
from codegen.keys import key_of
from codegen.targets import Cpu
from codegen.tuning import cores, parameters, records, search
from codegen.tuning.parameters import Caches, Tuning, anchor, by_formula, shape_class
from codegen.tuning.records import Records
from codegen.tuning.timing import Bench, Timed
from ir import plan as plans
from ir.command import Error
from ir.eval import run_graph
from ir.graph import Graph
from ir.plan import Work
from ir.text import parse
from tests import mode
from tests.closeness import assert_close
from tests.counts import cases
from tests.kernels import Kernel, host
from tests.uncompiled import skip_compiling

SPEEDS = GUESSES["cpu"]
FORMULA = by_formula(Caches())
NOTHING = Work(*[0] * len(Work.__struct_fields__))


def conv(images: int = 16, maps: int = 32, side: int = 9, op: str = "conv") -> Graph:
    """A convolution of 16 source maps with windows of 3, or one of its gradients."""
    shapes = {
        "x": f"f32[{images},16,{side},{side}]",
        "w": f"f32[{maps},16,3,3]",
        "y": f"f32[{images},{maps},{side},{side}]",
    }
    order = {"conv": "xwy", "conv_dx": "wyx", "conv_dw": "xyw"}[op]
    one, other, result = order[0], order[1], order[2]
    size = f", size=[{side},{side}]" if op == "conv_dx" else ""
    size = ", kernel=[3,3]" if op == "conv_dw" else size
    return parse(f"""graph g {{
      a: {shapes[one]} = input()
      b: {shapes[other]} = input()
      c: {shapes[result]} = {op}(a, b, pad=[1,1,1,1]{size})
      output c
    }}""")


def machine() -> str:
    """This one's name in records."""
    (name,) = host().machines
    return name


def tuned(tuning: Tuning, winograd: str = "") -> Cpu:
    """This machine with other sizes for everything."""
    return dataclasses.replace(host(), tuning=tuning, winograd=winograd or host().winograd)


# ------------------------------------------------------------------------------- sizes

tilings = st.sampled_from([None, (0, 0), (2, 2), (4, 2), (3, 5), (4, 4)])
shapes = st.sampled_from([None, (8, 3), (12, 2), (5, 4), (1, 1), (24, 1)])
sizes = [st.integers(1, most) for most in (6, 2**21, 2**24)]
tunings = st.builds(Tuning, *sizes, tilings, shapes, near=st.integers(1, 2**16))


@cases(full=60, sample=6)
@given(tunings, st.sampled_from(["conv", "conv_dx"]), st.integers(1, 40), st.integers(0, 2**32))
def test_sizes_change_no_result(tuning: Tuning, op: str, images: int, seed: int) -> None:
    graph, rng = conv(images, 24, 8, op), np.random.default_rng(seed)
    feeds = {n.name: rng.normal(size=n.type.shape) for n in graph.leaves("input")}
    feeds = {name: value.astype(np.float32) for name, value in feeds.items()}
    found = Kernel(graph, tuned(tuning)).run(feeds)["c"]
    assert_close(found, run_graph(graph, feeds).outputs["c"], 5e-5, str(tuning))


@given(*[st.integers(4, 2**20)] * 3)
def test_sizes_by_formula_fit_their_caches(first: int, second: int, shared: int) -> None:
    sizes = by_formula(Caches(first * 1024, second * 1024, shared * 1024))
    assert sizes.near <= first * 1024
    assert sizes.cached <= second * 1024
    assert sizes.chunk <= max(2 * second, shared) * 1024


def test_a_cache_that_says_nothing_is_taken_to_be_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, said in enumerate(({"level": "1", "size": "64K"}, {"level": "2"})):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in ({"type": "Data"} | said).items():
            (folder / name).write_text(f"{text}\n")
    monkeypatch.setattr(parameters, "CACHE_FILES", str(tmp_path))
    assert Caches.here() == Caches(first=64 * 1024)


def test_this_machines_caches_are_known() -> None:
    caches = Caches.here()
    assert 0 < caches.first < caches.second <= caches.shared


@pytest.mark.parametrize("op", ["conv", "conv_dx", "conv_dw"])
def test_a_class_of_shapes_is_all_but_the_number_of_images(op: str) -> None:
    name = shape_class(conv(32, op=op), "fast")
    assert name == shape_class(conv(128, op=op), "fast")
    others = [conv(32, maps=48, op=op), conv(32, side=11, op=op)]
    assert name not in [shape_class(each, "fast") for each in others]
    assert name != shape_class(conv(32, op=op), "mild")
    assert shape_class(conv(32, maps=32, op=op), "fast") == name


def test_what_has_nothing_to_choose_has_no_class() -> None:
    region = parse("graph g {\n x: f32[4,3] = input()\n y: f32[4,3] = relu(x)\n output y\n}")
    assert anchor(region) is None
    assert shape_class(region, "fast") is None


def test_a_record_changes_the_keys_of_its_own_class_only() -> None:
    mine, other = conv(), conv(maps=48)
    name = shape_class(mine, host().winograd)
    assert name is not None
    target = host().knowing({machine(): Records(tunings={name: FORMULA})})
    assert key_of(mine, target) != key_of(mine, host())
    assert key_of(other, target) == key_of(other, host())
    assert target.is_measured(mine)
    assert not target.is_measured(other)


def test_a_record_never_chooses_tiles_beyond_the_accuracy_asked_for() -> None:
    (node,) = (n for n in conv().nodes if n.inputs)
    large = tuned(dataclasses.replace(FORMULA, tile=(5, 5)), "fast")
    assert phases(node, large) is not None
    assert phases(node, dataclasses.replace(large, winograd="mild")) is None
    assert candidates(node, "none") == []


# ------------------------------------------------------------------------------- records


@cases(full=100, sample=25)
@given(st.dictionaries(st.text(), tunings, max_size=4), st.sampled_from([None, SPEEDS]))
def test_records_come_back_as_they_were_kept(
    tmp_path_factory: pytest.TempPathFactory, kept: dict[str, Tuning], speeds: plans.Speeds | None
) -> None:
    path = tmp_path_factory.mktemp("records") / "machine.json"
    records.keep(path, Records(speeds, kept))
    assert records.read(path) == Records(speeds, kept)


def test_the_users_records_go_before_those_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "SHIPPED", tmp_path / "shipped")
    one, two = FORMULA, dataclasses.replace(FORMULA, strip=2)
    assert records.load("mine", tmp_path) == Records()
    records.keep(tmp_path / "shipped" / "mine.json", Records(SPEEDS, {"a": one, "b": one}))
    records.keep(tmp_path / "mine.json", Records(tunings={"b": two}))
    assert records.load("mine", tmp_path) == Records(SPEEDS, {"a": one, "b": two})


@pytest.mark.parametrize("text", ["", "{", '{"tunings": 1}', '{"other": {}}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "machine.json").write_text(text)
    with pytest.raises(Error, match=r"machine\.json: is no record of sizes"):
        records.read(tmp_path / "machine.json")


def test_what_is_shipped_can_be_read_and_was_measured() -> None:
    for path in records.SHIPPED.glob("*.json"):
        found = records.read(path)
        assert found.speeds is not None
        assert "measured" in found.speeds.origin


# ------------------------------------------------------------------------------- search


class Pretended(Bench):
    """Kernels that are not compiled and take as long as a number drawn for their sizes."""

    made: list[Tuning]

    def __init__(self, region: Graph, target: Cpu, threads: int) -> None:
        self.made.append(target.tuning)

    def kernel(self, target: Cpu) -> Timed:
        self.made.append(target.tuning)
        seconds = Random(repr(target.tuning)).random()
        call = SimpleNamespace(seconds=seconds)
        return Timed(call, NOTHING, 0)  # type: ignore[arg-type]


def pretended(turns: Sequence[SimpleNamespace], repeat: int, threads: int) -> list[float]:
    return [turn.seconds for turn in turns]


@pytest.fixture
def pretending(monkeypatch: pytest.MonkeyPatch) -> list[Tuning]:
    """Let nothing be compiled or timed; the sizes for which kernels were made."""
    monkeypatch.setattr(Pretended, "made", [], raising=False)
    monkeypatch.setattr(search, "Bench", Pretended)
    monkeypatch.setattr(search, "best", pretended)
    return Pretended.made


@cases(full=60, sample=20)
@given(st.sampled_from(["conv", "conv_dx", "conv_dw"]), st.integers(3, 30), st.integers(1, 5))
def test_a_search_tries_everything_once_and_never_ends_worse(op: str, side: int, maps: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        made = pretending.__wrapped__(patch)  # type: ignore[attr-defined]
        target = tuned(FORMULA)
        found = search.Search(conv(16, 16 * maps, side, op), target, 1, 1).run()
    assert found.seconds <= found.before == Random(repr(FORMULA)).random()
    assert found.seconds == Random(repr(found.tuning)).random()
    assert len(made) - 1 == len(set(made))
    assert found.seconds <= min(Random(repr(each)).random() for each in made[1:3])


def test_the_command_keeps_what_builds_then_use(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pretending: list[Tuning],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cores, "ceilings", lambda target, threads: SPEEDS)
    monkeypatch.setattr(records, "SHIPPED", tmp_path / "none")
    skip_compiling(monkeypatch)
    network = tmp_path / "network.ir"
    network.write_text(NETWORK)
    assert measured(built(monkeypatch, capsys, network))[0] == 0
    words = ["--kind", "cpu", "--devices", "1", *mode.options()]
    monkeypatch.setattr(sys, "argv", ["tune", str(network), *words])
    tune.main()
    kept = records.read(records.file_of(tmp_path / "cache", machine()))
    assert {name.split()[1] for name in kept.tunings} == OPS
    assert kept.speeds is not None
    some, of_all = measured(built(monkeypatch, capsys, network))
    assert some == of_all >= len(OPS)


def measured(printed: str) -> tuple[int, int]:
    """Of how many kernels the sizes were measured, and of how many they could be."""
    found = re.search(r"^tuning +(\d+) of (\d+) measured", printed, re.MULTILINE)
    assert found
    return int(found[1]), int(found[2])


def built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], network: Path
) -> str:
    """What a build prints."""
    capsys.readouterr()
    words = ["--devices", "cpu:0", "-o", str(network.parent / "built"), *mode.options()]
    monkeypatch.setattr(sys, "argv", ["build", str(network), *words])
    build.main()
    return capsys.readouterr().out


OPS = {"conv", "conv_dw", "dense", "dense_dw", "dense_dx"}
NETWORK = """graph small {
  images: f32[16,16,6,6] = input()
  labels: i32[16] = input(below=4)
  weights: f32[16] = input()
  a.weight: f32[16,16,3,3] = param(std=0.1)
  b.weight: f32[4,256] = param(std=0.1)
  a: f32[16,16,4,4] = conv(images, a.weight)
  y: f32[16,16,4,4] = relu(a)
  flat: f32[16,256] = flatten(y)
  logits: f32[16,4] = dense(flat, b.weight)
  loss: f32[] = cross_entropy(logits, labels, weights)
  output loss
}
"""
