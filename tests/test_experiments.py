"""The experiments: their commands on a tiny network that NumPy runs, and compiled."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen import build
from experiments import comparison, devices, normalisation, pooling, relu_tanh
from experiments.measures import epochs_to
from experiments.report import NONE, Column, differences
from ir import plan as plans
from ir.command import Error
from runtime import log, train, trained
from runtime.executor import Outputs
from tests import oracle_train
from tests.built import SMALL
from tests.commands import assert_refused, python
from tests.oracle_train import OracleExecutor
from tests.plans import new_folder

ABLATIONS = (devices, normalisation, pooling)
ALL = (*ABLATIONS, relu_tanh)
Command = Callable[..., str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run an experiment within this process; what it prints."""

    def run(module: ModuleType, *words: object) -> str:
        name = module.__name__.rpartition(".")[2]
        monkeypatch.setattr(sys, "argv", [name, "--devices", "cpu:0,cpu:1", *map(str, words)])
        module.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def oracle(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The same, but nothing is built: `tests.oracle_train` is what trains and evaluates."""
    facts = json.dumps({"accumulate": 1, "batch": 100})
    monkeypatch.setattr(build, "build", lambda options: Path(options.out).write_text(facts))
    monkeypatch.setattr(plans, "read", oracle_train.read)
    for module in (train, trained):
        monkeypatch.setattr(module, "open_executor", OracleExecutor)
    return command


def cells(out: Path) -> dict[str, list[str]]:
    """The table's rows by their first cell."""
    text = (out / "table.md").read_text().splitlines()
    lines = [line.strip("| ").split(" | ") for line in text if "|" in line]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in lines}


def results(out: Path) -> dict[str, list[dict[str, Any]]]:
    """What the runs' folders say, by variant, in the order of the seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(out.glob("*/seed-*/result.json")):
        found.setdefault(path.parts[-3], []).append(json.loads(path.read_text()))
    return found


def told(values: list[float], digits: int = 2) -> str:
    """Their mean and their deviation, as a table has them."""
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


# ----------------------------------------------------------------------- what is told


@pytest.mark.parametrize(("module", "seeds"), [*zip(ABLATIONS, (1, 2, 3), strict=True)])
def test_a_table_has_the_numbers_of_the_runs(
    oracle: Command, tmp_path: Path, module: ModuleType, seeds: int
) -> None:
    words = ("--steps", 8, "--seeds", seeds, "--out", tmp_path, "--", "--lr", 0.0005)
    said = oracle(module, *words)
    assert (tmp_path / "table.md").read_text() in said
    table, found = cells(tmp_path), results(tmp_path)
    one, other = (side.name for side in (module.ABLATION.one, module.ABLATION.other))
    assert set(found) == {one, other}
    for place, key in enumerate(("top1_error", "top5_error")):
        errors = {name: [100 * row[key] for row in rows] for name, rows in found.items()}
        for name, values in errors.items():
            assert table[name][place] == told(values)
        gains = [b - a for a, b in zip(errors[one], errors[other], strict=True)]
        assert table["gain, points"][place] == told(gains)
    published = [f"{points:.1f}" for points in (module.ABLATION.top1, module.ABLATION.top5)]
    assert table["gain in the paper"][:2] == published
    assert json.loads((tmp_path / "results.json").read_text())["variants"] == found
    picture = (tmp_path / "curves.svg").read_text()
    assert all(f"{name}, seed {seed}" in picture for name in found for seed in range(seeds))


def test_errors_are_those_of_the_run_and_seeds_differ(oracle: Command, tmp_path: Path) -> None:
    oracle(pooling, "--steps", 20, "--seeds", 2, "--out", tmp_path, "--", "--lr", 0.0005)
    for path in tmp_path.glob("*/seed-*"):
        last = log.read(path / "log.jsonl")[-1]
        row = json.loads((path / "result.json").read_text())
        assert row["top1_error"] == pytest.approx(1 - last["validation_top1"], abs=1e-6)
        assert row["log_probability"] == pytest.approx(-last["validation_loss"], abs=1e-4)
    rows = results(tmp_path)
    assert rows["apart"][0] != rows["apart"][1]


def test_the_fastest_rates_are_compared(oracle: Command, tmp_path: Path) -> None:
    words = ("--epochs", 4, "--rates", "1e-7,0.0005", "--target", 0.5, "--out", tmp_path)
    said = oracle(relu_tanh, *words)
    table = cells(tmp_path)
    assert table["relu-1e-7"][0] == table["tanh-1e-7"][0] == NONE
    assert "fastest: relu-0.0005, tanh-0.0005; ReLUs 1.00 times faster" in said
    for name, (row,) in results(tmp_path).items():
        records = log.read(tmp_path / name / "seed-0" / "log.jsonl")
        last = [1 - r["top1"] for r in records if "top1" in r and r["epoch"] == 4]
        assert row["training_error"] == pytest.approx(mean(last), abs=1e-5)
    assert "relu-1e-7" not in (tmp_path / "curves.svg").read_text()


def test_nets_that_did_not_reach_the_error_are_not_compared(
    oracle: Command, tmp_path: Path
) -> None:
    said = oracle(relu_tanh, "--epochs", 1, "--rates", "1e-7,1e-8", "--out", tmp_path)
    assert "fastest: relu-1e-7, tanh-1e-7; not both reached the error" in said


def test_a_rate_that_is_too_high_is_a_result(oracle: Command, tmp_path: Path) -> None:
    words = ("--epochs", 2, "--rates", "1e30,0.0005", "--target", 0.9, "--out", tmp_path)
    said = oracle(relu_tanh, *words)
    assert cells(tmp_path)["relu-1e30"] == [NONE] * 3
    assert "relu-1e30, seed 0: the loss is" in said
    assert "fastest: relu-0.0005, tanh-0.0005" in said
    assert oracle(relu_tanh, *words) == said


@given(
    errors=st.lists(st.integers(0, 8).map(lambda n: n / 8), max_size=30),
    per_epoch=st.integers(1, 8),
    error=st.integers(0, 8).map(lambda n: n / 8),
)
def test_the_error_is_reached_with_the_first_mean_over_an_epoch(
    errors: list[float], per_epoch: int, error: float
) -> None:
    ends = range(per_epoch, len(errors) + 1)
    reached = [end for end in ends if mean(errors[end - per_epoch : end]) <= error]
    expected = reached[0] / per_epoch if reached else None
    assert epochs_to(error, np.array(errors), per_epoch) == expected


def test_a_cell_is_empty_unless_every_seed_has_a_number() -> None:
    column = Column("error", "error, %", 100, digits=1)
    rows: list[dict[str, Any]] = [{"error": 0.25}, {"error": 0.75}, {"diverged": "why"}]
    assert column.cell(column.values(rows[:2])) == "50.0 ± 35.4"
    assert column.cell(column.values(rows)) == NONE
    assert differences([1.0, None, 3.0], [2.0, 5.0, 1.0]) == [1.0, None, -2.0]


# ----------------------------------------------------------------------- what is done


def forbidden(*_: object) -> None:
    raise AssertionError("trained again")


@pytest.mark.parametrize("module", ALL)
def test_what_is_done_is_not_done_again(
    oracle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    words = ("--steps", 2, "--out", tmp_path)
    first = oracle(module, *words, "--seeds", 2)
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "train", forbidden)
        patch.setattr(build, "build", forbidden)
        assert oracle(module, *words, "--seeds", 2) == first
        assert "±" not in oracle(module, *words)
        with pytest.raises(AssertionError, match="trained again"):
            oracle(module, *words, "--seeds", 3)


def test_a_stopped_experiment_goes_on(
    oracle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--steps", 8, "--seeds", 2)
    oracle(pooling, *words, "--out", tmp_path / "whole")

    class Stopping(OracleExecutor):
        def run(self, program: str, watch: Any = None) -> Outputs:
            if (tmp_path / "cut" / "apart").is_dir() and program == "train":
                os.kill(os.getpid(), signal.SIGTERM)
            return super().run(program, watch)

    with monkeypatch.context() as patch:
        patch.setattr(train, "open_executor", Stopping)
        with pytest.raises(SystemExit) as caught:
            oracle(pooling, *words, "--out", tmp_path / "cut")
    assert caught.value.code == 75
    assert not (tmp_path / "cut" / "table.md").exists()
    oracle(pooling, *words, "--out", tmp_path / "cut")
    for path in (tmp_path / "whole").glob("*/seed-*/last.safetensors"):
        cut = tmp_path / "cut" / path.relative_to(tmp_path / "whole")
        assert cut.read_bytes() == path.read_bytes()


def test_a_folder_keeps_to_what_was_asked_first(oracle: Command, tmp_path: Path) -> None:
    oracle(pooling, "--steps", 1, "--out", tmp_path)
    with pytest.raises(Error, match=r"experiment\.json: steps was 1 and is 2 now"):
        oracle(pooling, "--steps", 2, "--out", tmp_path)
    with pytest.raises(Error, match="experiment was 'pooling' and is 'devices' now"):
        oracle(devices, "--steps", 1, "--out", tmp_path)
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(Error, match="expected JSON"):
        oracle(pooling, "--steps", 1, "--out", tmp_path)


@pytest.mark.parametrize("module", ALL)
def test_a_dry_run_says_what_would_be_done(
    command: Command, tmp_path: Path, module: ModuleType
) -> None:
    words = ("--dry-run", "--seeds", 2, "--out", tmp_path, "--", "--momentum", 0.5)
    lines = command(module, *words).splitlines()
    builds = [line for line in lines if "codegen.build" in line]
    trainings = [line for line in lines if "runtime.train" in line]
    assert len(trainings) == 2 * len(builds) == 2 * len(set(builds))
    assert all("--momentum 0.5" in line for line in trainings)
    assert not list(tmp_path.iterdir())


def test_the_smaller_network_is_on_one_device(command: Command, tmp_path: Path) -> None:
    said = command(devices, "--dry-run", "--out", tmp_path)
    assert "60,965,224 parameters, on cpu:0, cpu:1\n" in said
    assert "59,798,312 parameters, on cpu:0\n" in said


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("devices", "--devices", "cpu:0"), "--devices cpu:0: two is placed on 2"),
        (("pooling", "--image", "5"), "conv1"),
        (("relu_tanh", "--rates", "0.1,x"), "'x' is no number"),
        (("relu_tanh", "--rates", "0"), "'0' is no rate"),
        (("relu_tanh", "--target", "25"), "'25' is no error between 0 and 1"),
        (("normalisation", "--", "--lr", "x"), "runtime.train: error"),
    ],
)
def test_what_is_wrong_is_refused_before_any_work(
    words: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    name, *rest = words
    done = python(f"experiments.{name}", "--out", str(tmp_path / "out"), *rest)
    assert_refused(done, complaint)
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------------- compiled


@pytest.mark.full
@pytest.mark.parametrize("module", ALL)
def test_a_tiny_experiment_runs(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    monkeypatch.setenv("TANDEM_CACHE", str(CACHE))
    tiny = ("--rates", "0.001") if module is relu_tanh else SMALL[2:]
    command(module, "--batch", 20, "--steps", 2, *tiny, "--out", tmp_path)
    rows = [row for rows in results(tmp_path).values() for row in rows]
    assert len(rows) == 2
    assert all(0 <= rate <= 1 for row in rows for key, rate in row.items() if "error" in key)
    networks = {path.read_text() for path in tmp_path.glob("*/network.ir")}
    assert len(networks) == 2


CACHE = new_folder()
"""Kernels, of which these networks share many."""
