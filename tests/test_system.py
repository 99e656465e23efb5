"""The whole system: what commands make of a small AlexNet, from its text to its checkpoints.

The net is split over two devices unless it says otherwise, and compiled once for all tests here.
"""

import json
import shutil
import sys
import tracemalloc
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ir import plan as plans
from ir.eval import random_feeds, run_graph
from ir.graph import Graph
from ir.op import Array
from ir.text import read as read_graph
from passes.context import Context
from passes.pipeline import run_passes
from runtime import train
from runtime.devices import open_executor
from runtime.executor import Executor
from runtime.log import read
from runtime.memory import DTYPES
from tests.built import ONE, built, finished
from tests.closeness import assert_close
from tests.commands import Finished

SAME_TO_ROUNDING = 1e-5
"""Of float32 results after a few steps, relative to the largest of a tensor; seen: 1e-6."""

Values = dict[str, Array]


@lru_cache
def run() -> tuple[Path, Finished]:
    """The folder where the third command of the README was run, too, and what it said."""
    return built(), finished("runtime.train", "plan.json", "--steps", "3", cwd=built())


def trained(
    monkeypatch: pytest.MonkeyPatch, folder: Path, out: Path, *options: str, steps: int = 3
) -> Path:
    """Train within this process, which is faster than a command; the checkpoint."""
    given = ["train", str(folder / "plan.json"), "--steps", str(steps), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*given, *options])
    train.main()
    return out / "last.safetensors"


def assert_agree(found: Path, expected: Path) -> None:
    """Fail unless two checkpoints hold the same to rounding."""
    values, others = load_file(found), load_file(expected)
    assert set(values) == set(others)
    for name, value in values.items():
        assert_close(value, others[name], SAME_TO_ROUNDING, name)


# ---------------------------------------------------------------------------- the oracle


@pytest.fixture
def small() -> Iterator[Executor]:
    path = built() / "plan.json"
    with open_executor(plans.read(path), plans.folder(path)) as executor:
        yield executor


def training_step() -> Graph:
    """The network on whole tensors, placed nowhere, with its gradients and updates."""
    return run_passes(read_graph(str(built() / "network.ir")), ("grad", "sgd"), Context(1))


def lively(graph: Graph) -> Values:
    """Feeds and states with which every layer passes signals on, both ways, and has momentum.

    Pixels and means are random, and no sum of this seed is within rounding of a tie: a ReLU or a
    maximum that rounding turned the other way would exceed the bounds below by far.
    """
    random = np.random.default_rng(0)
    values = {name: np.asarray(value) for name, value in random_feeds(graph).items()}
    for leaf in graph.leaves("param"):
        fan_in = np.prod(leaf.type.shape[1:])
        if leaf.type.rank > 1:
            values[leaf.name] = random.normal(0, np.sqrt(2 / fan_in), leaf.type.shape)
    values["conv1.weight"] *= 0.1  # pixels are around 100, later values around 1
    for leaf in graph.leaves("state"):
        values[leaf.name] = random.normal(0, 1e-3, leaf.type.shape)
    values["mean"] = random.uniform(100, 150, values["mean"].shape)
    values["shift"] = random.normal(0, 5, values["shift"].shape)
    values["weights"][-2:] = 0.0
    values |= {name: np.asarray(0.01) for name in values if name.endswith(".rate")}
    values |= {"momentum": np.asarray(0.9), "decay": np.asarray(0.05)}
    values["seed"] = np.asarray(3_000_000_019, np.uint32)
    return {name: _single(value) for name, value in values.items()}


def _single(value: Array) -> Array:
    """The number that float32 holds, in the type of the oracle."""
    return value.astype(np.float32).astype(np.float64) if value.dtype.kind == "f" else value


def run_step(executor: Executor, values: Values) -> None:
    for feed in executor.plan.programs["train"].feeds:
        value = np.asarray(values[feed.logical], DTYPES[feed.tensor.dtype])
        executor.feed("train", feed.logical, value)
    executor.run("train")


def test_two_steps_equal_the_oracle_s(small: Executor) -> None:
    graph = training_step()
    values = lively(graph)
    for name in small.states.names:
        small.states.write(name, values[name].astype(np.float32))
    for step in (1, 2):
        values["step"] = np.asarray(step, np.uint32)
        run_step(small, values)
        expected = run_graph(graph, values)
        for name, value in expected.outputs.items():
            assert_close(small.output("train", name), value, 1e-6, f"{name} of step {step}")
        for name in small.states.parameters:
            assert_updated(small, expected.updates, name, step)
        values |= expected.updates


def assert_updated(executor: Executor, expected: Values, name: str, step: int) -> None:
    """Fail unless a parameter and its momentum are right.

    Momenta, made of gradients, are within 1e-5 of their largest; parameters, which hardly move,
    may add the rounding of each step: 2^-24 of their own largest.
    """
    v, w = expected[f"{name}.momentum"], expected[name]
    slack = 1e-5 * float(np.abs(v).max())
    where = f"{name} after step {step}"
    assert np.abs(executor.states.read(f"{name}.momentum") - v).max() <= slack, where
    slack = step * (slack + 2.0**-24 * float(np.abs(w).max()))
    assert np.abs(executor.states.read(name) - w).max() <= slack, where


# ---------------------------------------------------------------------------- determinism


def test_seed_alone_decides_the_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the process, nor the binding, nor the threads, nor an interruption."""
    folder, _ = run()
    expected = (folder / "run" / "last.safetensors").read_bytes()
    ways = (
        "--devices cpu:0,cpu:1 --threads 2",
        "--devices cpu:0,cpu:0",
        "--devices cpu:0,cpu:0 --threads 3",
        "--threads 1",
        "--threads 3",
    )
    for way in ways:
        out = tmp_path / way.replace(" ", "_")
        assert trained(monkeypatch, folder, out, *way.split()).read_bytes() == expected, way


def test_the_unsplit_plan_agrees_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (split, _), unsplit, out = run(), built(devices=ONE), tmp_path / "resumed"
    early = split / "run" / "last.safetensors"
    assert_agree(trained(monkeypatch, unsplit, tmp_path / "unsplit"), early)
    out.mkdir()
    shutil.copy(early, out)
    resumed = trained(monkeypatch, unsplit, out, "--resume", steps=6)
    assert_agree(resumed, trained(monkeypatch, split, tmp_path / "late", steps=6))
    assert [record["step"] for record in read(out / "log.jsonl") if "loss" in record] == [4, 5, 6]


# ---------------------------------------------------------------------------- memory


def test_resident_size_is_flat_over_200_steps(tmp_path: Path) -> None:
    """Of the whole command, from the end of its first epoch, when all has been done once, on."""
    given = [str(built() / "plan.json"), "--steps", "280", "--out", str(tmp_path)]
    pages = json.loads(finished("tests.resident", *given, cwd=tmp_path).out.splitlines()[-1])
    first, last = pages[79], pages[279]  # an epoch has 75 steps
    assert abs(last - first) < 0.01 * first


def test_a_step_allocates_small_objects_only(small: Executor) -> None:
    values = lively(training_step())
    run_step(small, values)
    packed = [small.pack("train", name, values[name]) for name in ("images", "labels")]
    tracemalloc.start()
    try:
        for _ in range(3):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for each in packed:
                small.feed("train", each.name, each)
            small.run("train")
            after, peak = tracemalloc.get_traced_memory()
            assert peak - before < 30_000
            assert after - before < 10_000
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------- commands

SHAPES = {
    "conv1.weight": (12, 3, 11, 11),
    "conv1.bias": (12,),
    "conv2.weight": (32, 6, 5, 5),  # OIHW; each of the two groups sees half of 12 maps
    "fc6.weight": (512, 32),  # (out, in)
    "fc8.weight": (10, 512),
}


def test_the_readme_s_commands_leave_what_they_promise() -> None:
    folder, done = run()
    assert {path.name for path in folder.iterdir()} >= {"plan", "plan.json", "run"}
    made = {"best.safetensors", "curve.svg", "last.safetensors", "log.jsonl", "run.json"}
    made |= {"recipe.toml", "step-0000003.safetensors"}
    assert {path.name for path in (folder / "run").iterdir()} == made
    for name in ("last.safetensors", "curve.svg", "log.jsonl"):
        assert f"run/{name}" in done.out
    assert [record["step"] for record in read(folder / "run" / "log.jsonl")] == [1, 2, 3, 3]


def test_checkpoints_hold_whole_tensors_by_their_logical_names() -> None:
    folder, _ = run()
    values = load_file(folder / "run" / "last.safetensors")
    params = {leaf.name for leaf in read_graph(str(folder / "network.ir")).leaves("param")}
    assert set(values) == params | {f"{name}.momentum" for name in params}
    for name, shape in SHAPES.items():
        assert values[name].shape == values[f"{name}.momentum"].shape == shape
    for value in values.values():
        assert value.dtype == np.float32
        assert value.any()


def test_a_built_program_can_be_drawn() -> None:
    text = (built() / "plan" / "train.ir").read_text()
    assert finished("ir.dot", given=text, cwd=built()).out.startswith("digraph {")
