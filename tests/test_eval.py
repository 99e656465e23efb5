"""The oracle: feeds and results by logical name, two precisions, and the command."""

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from ir.eval import in_type, random_feeds, run_graph
from ir.graph import Graph
from ir.text import parse
from ir.type import DType, IRError, TensorType
from tests.counts import cases
from tests.graphs import SEEDS, feeds, networks, random_graph

ROOT = Path(__file__).parent.parent

PIECES = """graph pieces {
  x: f32[2,2] = input(of="data")
  top: f32[1,2] = param(of="w", whole=[2,3], offset=[0,1], std=1.0)
  left: f32[2,1] = param(of="w", whole=[2,3], offset=[0,0], std=1.0)
  low: f32[1,2] = param(of="w", whole=[2,3], offset=[1,1], std=1.0)
  v: f32[1,2] = state(of="speed", whole=[2,2], offset=[1,0], value=3.0)
  both: f32[2,2] = concat(top, low, axis=0)
  y: f32[2,2] = add(both, x)
  top.new: f32[1,2] = scale(top, by=2.0)
  low.new: f32[1,2] = scale(low, by=3.0)
  left.new: f32[2,1] = scale(left, by=5.0)
  output y, x
  gradient left = left
  gradient low = top
  update top = top.new
  update left = left.new
  update low = low.new
  update v = v
}
"""
FED = {
    "data": [[10, 20], [30, 40]],
    "w": [[1, 2, 3], [4, 5, 6]],
    "speed": [[1, 1], [7, 8]],
}


def test_a_piece_takes_its_part_of_what_is_fed() -> None:
    results = run_graph(parse(PIECES), FED)
    assert results.outputs["y"].tolist() == [[12, 23], [35, 46]]
    assert results.outputs["x"].tolist() == FED["data"]


def test_pieces_are_put_together_in_the_results() -> None:
    results = run_graph(parse(PIECES), FED)
    assert results.gradients["w"].tolist() == [[1, 0, 0], [4, 2, 3]]
    assert results.updates["w"].tolist() == [[5, 4, 6], [20, 15, 18]]
    assert results.updates["speed"].tolist() == [[0, 0], [7, 8]]


def test_random_feeds_are_whole_tensors_drawn_as_declared() -> None:
    drawn = random_feeds(parse(PIECES), seed=3)
    assert {name: value.shape for name, value in drawn.items()} == {
        "data": (2, 2), "w": (2, 3), "speed": (2, 2)
    }  # fmt: skip
    assert (drawn["speed"] == 3).all()
    assert (drawn["w"] == random_feeds(parse(PIECES), seed=3)["w"]).all()
    assert (drawn["w"] != random_feeds(parse(PIECES), seed=4)["w"]).all()


def test_results_are_the_same_in_any_order_of_the_nodes() -> None:
    graph = parse(PIECES)
    leaves = graph.leaves("input", "param", "state")
    rest = [node for node in graph.nodes if node not in leaves]
    other = graph.replace(nodes=[*reversed(leaves), *rest])
    first, second = run_graph(graph, FED), run_graph(other, FED)
    assert all((first.updates[name] == second.updates[name]).all() for name in first.updates)


# ---------------------------------------------------------------------------- wrong feeds


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("w", None, "nothing is fed for 'w', expected an array for f32[1,2]"),
        ("w", [[1, 2]], "'w' is fed shape [1, 2], expected [2, 3]"),
        ("data", 1.0, "'data' is fed shape [], expected [2, 2]"),
        ("data", [["a", "b"], ["c", "d"]], "'data' is fed elements of type <U1, expected numbers"),
    ],
)
def test_a_wrong_feed_is_named(name: str, value: object, complaint: str) -> None:
    fed: dict[str, Any] = {**FED, name: value}
    if value is None:
        del fed[name]
    with pytest.raises(IRError) as caught:
        run_graph(parse(PIECES), fed)
    assert str(caught.value) == complaint


LOSS = """graph loss {
  z: f32[1,3] = input()
  label: i32[1] = input(%s)
  weight: f32[1] = input()
  loss: f32[] = cross_entropy(z, label, weight)
  output loss
}
"""


@pytest.mark.parametrize(
    ("bound", "label", "complaint"),
    [
        ("below=3", 3, "'label' is fed other numbers than the integers expected, 0 to 2"),
        ("below=3", -1, "'label' is fed other numbers than the integers expected, 0 to 2"),
        ("", 0.5, "'label' is fed other numbers than the integers expected, -2147483648 to "),
        ("", np.nan, "'label' is fed other numbers than the integers expected, "),
        ("", 2**31, "'label' is fed other numbers than the integers expected, "),
        ("", 3, "in 'loss': a label is no class, expected 0 to 2"),
        ("", -1, "in 'loss': a label is no class, expected 0 to 2"),
    ],
)
def test_a_label_is_a_class(bound: str, label: float, complaint: str) -> None:
    with pytest.raises(IRError) as caught:
        run_graph(parse(LOSS % bound), {"z": [[1, 2, 3]], "label": [label], "weight": [1]})
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize("offset", [(-1, 0), (0, 3)])
def test_a_crop_stays_inside_its_image(offset: tuple[int, int]) -> None:
    text = """graph crop {
      x: u8[1,1,3,4] = input()
      at: i32[1,2] = input()
      flip: i32[1] = input()
      y: u8[1,1,2,2] = crop(x, at, flip, size=[2,2])
      output y
    }"""
    fed: dict[str, Any] = {"x": np.ones((1, 1, 3, 4)), "at": [offset], "flip": [0]}
    with pytest.raises(IRError, match=r"^in 'y': an offset leaves the image, expected at most \[1"):
        run_graph(parse(text), fed)


# ---------------------------------------------------------------------------- numbers


@cases(full=300, sample=30)
@given(graph=networks(), seed=SEEDS)
def test_both_precisions_agree(graph: Graph, seed: int) -> None:
    fed = feeds(graph, seed)
    wide, narrow = run_graph(graph, fed), run_graph(graph, fed, np.float32)
    for name in ("loss", *wide.outputs.keys() - {"loss", "accuracy"}):
        assert wide.outputs[name].dtype == np.float64
        assert narrow.outputs[name].dtype == np.float32
        size = np.abs(wide.outputs[name]).max() + 1
        assert size < 1000
        np.testing.assert_allclose(narrow.outputs[name], wide.outputs[name], atol=1e-4 * size)


@cases(full=100, sample=20)
@given(graph=networks(), seed=SEEDS)
def test_feeds_are_generic(graph: Graph, seed: int) -> None:
    fed = feeds(graph, seed)
    assert all((fed[param.name] != 0).all() for param in graph.leaves("param"))
    assert np.isfinite(run_graph(graph, fed).outputs["loss"])
    again = feeds(graph, seed)
    assert all((fed[name] == again[name]).all() for name in fed)


def test_bf16_is_rounded_after_every_node() -> None:
    text = """graph g {
      x: bf16[] = input()
      y: bf16[] = add(x, x)
      z: bf16[] = add(y, x)
      output x, z
    }"""
    results = run_graph(parse(text), {"x": 1 / 3})
    assert results.outputs["x"] == 171 / 512
    assert results.outputs["z"] == 1.0


@pytest.mark.parametrize("dtype", list(DType))
def test_every_type_is_held_as_such(dtype: DType) -> None:
    held = in_type(np.asarray([1.0, 2.0]), TensorType((2,), dtype), np.float64)
    names = {"f32": "float64", "bf16": "float64", "u8": "uint8", "i32": "int32", "u32": "uint32"}
    assert held.dtype == names[dtype.value]


def test_the_same_seed_gives_the_same_program() -> None:
    assert random_graph(Random(7)) == random_graph(Random(7))
    assert random_graph(Random(7)) != random_graph(Random(8))


# ---------------------------------------------------------------------------- the command


def command(*options: object, text: str = PIECES) -> tuple[int, str, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "ir.eval", *map(str, options)],
        input=text, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    return ended.returncode, ended.stdout, ended.stderr


def test_the_command_prints_and_saves_results(tmp_path: Path) -> None:
    np.savez(tmp_path / "fed.npz", data=FED["data"], w=FED["w"])
    saved = tmp_path / "out.npz"
    code, out, err = command("--feeds", tmp_path / "fed.npz", "--save", saved, "--float32")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split("[")[0].strip() for line in lines] == [
        "y", "x", "gradient w", "update w", "update speed"
    ]  # fmt: skip
    assert lines[0].split()[-4:] == ["12", "23", "35", "46"]
    with np.load(saved) as stored:
        assert stored["update.w"].tolist() == [[5, 4, 6], [20, 15, 18]]
        assert stored["y"].dtype == np.float32


def called(name: str) -> str:
    """The program with another name for its first output."""
    return PIECES.replace(" y: ", f" {name}: ").replace("output y", f"output {name}")


def test_results_of_any_names_are_saved_and_no_two_under_one(tmp_path: Path) -> None:
    saved = tmp_path / "out.npz"
    assert command("--save", saved, text=called("file"))[0] == 0
    with np.load(saved) as stored:
        assert "file" in stored
    before = saved.read_bytes()
    code, _, err = command("--save", saved, text=called("update.w"))
    assert (code, err.count("\n")) == (2, 1)
    assert "two results have one name there" in err
    assert saved.read_bytes() == before


def test_the_command_draws_by_seed() -> None:
    first, again, other = (command("--seed", seed)[1] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--feeds", "none.npz"], "error: none.npz: not an .npz file of arrays: "),
        (["--feeds", "pyproject.toml"], "error: pyproject.toml: not an .npz file of arrays: "),
        (["--save", "/none/x.npz"], "error: /none/x.npz: cannot be written: No such file"),
        (["--seed", "-1"], "argument --seed: '-1' is no seed, expected an integer >= 0"),
        (["nowhere.ir"], "error: nowhere.ir: cannot be read: No such file or directory"),
    ],
)
def test_the_command_refuses(options: list[str], complaint: str) -> None:
    code, _, err = command(*options)
    assert code == 2
    assert complaint in err
    assert "Traceback" not in err


def test_the_command_refuses_feeds_of_another_program(tmp_path: Path) -> None:
    np.savez(tmp_path / "fed.npz", other=[1])
    code, out, err = command("--feeds", tmp_path / "fed.npz")
    assert (code, out) == (2, "")
    assert err.endswith("fed.npz: 'other' is no leaf, expected one of data, w, speed\n")


@pytest.mark.parametrize("damage", [slice(100, None), slice(150, 190)], ids=["torn", "altered"])
def test_the_command_refuses_a_damaged_file(damage: slice, tmp_path: Path) -> None:
    path = tmp_path / "fed.npz"
    np.savez(path, data=FED["data"], w=FED["w"])
    raw = bytearray(path.read_bytes())
    raw[damage] = b"" if damage.stop is None else bytes(damage.stop - damage.start)
    path.write_bytes(raw)
    code, out, err = command("--feeds", path)
    assert (code, out) == (2, "")
    assert "not an .npz file" in err
    assert "Traceback" not in err
