"""Training: laws of a run, and what its command does when asked, stopped or hindered."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from safetensors.numpy import load_file

from ir import plan as plans
from ir.command import DataError, Error, Exit
from ir.plan import Move, Run
from ir.plan.prediction import Prediction
from runtime import files, recipes, session, train
from runtime.executor import Event, Watch
from runtime.log import Log, Record, read
from runtime.profile import Profile
from runtime.programs import check
from runtime.rates import Plateau
from runtime.recipe import Recipe
from runtime.stop import Stop
from runtime.trainer import Prepared, Trainer
from tests import oracle_train
from tests.commands import ROOT, Finished, assert_refused, python
from tests.learner import compiled, learner
from tests.oracle_runs import BATCH, plan, timeless, trained
from tests.plans import two_devices

STEP = ("step", "epoch", "loss", "top1", "top5", "lr", "images_per_second", "seconds")
VALIDATION = ("step", "epoch", "validation_loss", "validation_top1", "validation_top5", "seconds")


def command(*arguments: str) -> Finished:
    return python("tests.oracle_train", *arguments)


# ---------------------------------------------------------------------------- laws


def test_a_tiny_network_learns_the_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    trained(monkeypatch, plan(tmp_path), "--out", str(out), "--epochs", "4", "--lr", "0.0005")
    log = read(out / "log.jsonl")
    validations = [record for record in log if "validation_top1" in record]
    assert [record["epoch"] for record in validations] == [1, 2, 3, 4]
    assert validations[-1]["validation_top1"] > 0.7
    made = {"best.safetensors", "curve.svg", "last.safetensors", "log.jsonl", "run.json"}
    made |= {"recipe.toml", "step-0000045.safetensors", "step-0000060.safetensors"}
    assert {path.name for path in out.iterdir()} == made
    shown = capsys.readouterr()
    assert f"{validations[-1]['validation_top1']:.2%}" in shown.out
    assert "rate 0.0005" in shown.err


def test_a_log_has_one_record_for_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "some.log"
    trained(monkeypatch, plan(tmp_path), "--out", str(tmp_path), "--steps", "17", "--log", str(log))
    records = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    assert all(tuple(record) == STEP for record in steps)
    assert [record["step"] for record in steps] == list(range(1, 18))
    assert [record["epoch"] for record in steps] == [1] * 15 + [2] * 2
    rest = [record for record in records if "loss" not in record]
    assert all(tuple(record) == VALIDATION for record in rest)
    assert [record["step"] for record in rest] == [15, 17]


@pytest.mark.parametrize(("accumulate", "cut"), [(1, 5), (4, 3), (4, 8)])
def test_a_resumed_run_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int, cut: int
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    given = [plan(tmp_path, accumulate), "--seed", "7"]
    trained(monkeypatch, *given, "--steps", "9", "--out", str(whole))
    for steps in (str(cut), "9"):
        trained(monkeypatch, *given, "--resume", "--steps", steps, "--out", str(parts))
    one, two = (folder / "last.safetensors" for folder in (whole, parts))
    assert one.read_bytes() == two.read_bytes()
    logs = [timeless(folder / "log.jsonl") for folder in (whole, parts)]
    # Where the shorter run ended, it validated.
    kept = [[r for r in log if "loss" in r or r["step"] != cut] for log in logs]
    assert kept[0] == kept[1]


def test_compiled_runs_give_the_same_bits_however_bound_threaded_or_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(compiled(), tmp_path / "plan")
    plans.write(learner(), tmp_path / "plan.json")
    ways: dict[str, list[list[str]]] = {
        "two": [["--devices", "cpu:0,cpu:1"]],
        "one": [["--devices", "cpu:0,cpu:0"]],
        "narrow": [["--threads", "1"]],
        "cut": [["--steps", "20"], ["--resume"]],
    }
    for name, runs in ways.items():
        for options in runs:
            given = ["train", str(tmp_path / "plan.json"), "--steps", "100"]
            monkeypatch.setattr(sys, "argv", [*given, "--out", str(tmp_path / name), *options])
            train.main()
    found = {(tmp_path / name / "last.safetensors").read_bytes() for name in ways}
    assert len(found) == 1
    losses = [record["loss"] for record in read(tmp_path / "two/log.jsonl") if "loss" in record]
    assert losses[-1] < losses[0]


def test_running_ahead_changes_nothing_but_when_a_step_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for ahead in (0, 1, 3):
        out = tmp_path / str(ahead)
        monkeypatch.setattr(oracle_train.OracleExecutor, "ahead", ahead)
        given = [plan(tmp_path, 2), "--steps", "20", "--checkpoint-every", "6"]
        trained(monkeypatch, *given, "--out", str(out))
        found.append(((out / "last.safetensors").read_bytes(), timeless(out / "log.jsonl")))
    assert found[0] == found[1] == found[2]


class Timed(Trainer):
    """Takes note of when steps are started and finished."""

    times: ClassVar[list[float]] = []

    def start(self, step: int, batches: Iterator[Prepared], watch: Watch | None = None) -> None:
        self.times.append(time.perf_counter())
        super().start(step, batches, watch)

    def finish(self) -> Record:
        record = super().finish()
        self.times.append(time.perf_counter())
        return record


def test_steps_that_overlap_share_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle_train.OracleExecutor, "ahead", 1)
    monkeypatch.setattr(session, "Trainer", Timed)
    trained(monkeypatch, plan(tmp_path), "--steps", "5", "--out", str(tmp_path))
    log = [record for record in read(tmp_path / "log.jsonl") if "loss" in record]
    assert sum(record["seconds"] for record in log) <= max(Timed.times) - min(Timed.times)


def test_a_resumed_log_forgets_steps_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Log(path, keep=0) as log:
        for step in range(1, 6):
            log.add({"step": step, "loss": 1.0})
        log.add({"step": 5, "validation_top1": 0.5})
    with path.open("a") as file:
        file.write('{"step": 6, "lo')
    with Log(path, keep=3) as log:
        assert log.best == -1
        log.add({"step": 4, "loss": 2.0})
    assert [record["step"] for record in read(path)] == [1, 2, 3, 4]
    assert read(path)[-1]["loss"] == 2.0


@pytest.mark.parametrize(
    "line",
    [
        b"\xff",
        b"step",
        b"3",
        b"{}",
        b'{"step": 1e999}',
        b'{"step": "1"}',
        b'{"step": 1, "validation_top1": "x"}',
        b"[" * 10**5,
    ],
)
def test_a_line_that_is_no_record_is_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(DataError, match="log:2: expected a JSON object of numbers with a step"):
        read(path)


def test_a_seed_decides_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out = str(tmp_path / name)
        trained(monkeypatch, plan(tmp_path), "--steps", "3", "--seed", seed, "--out", out)
        found.append((tmp_path / name / "last.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_init_takes_the_parameters_and_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    given = plan(tmp_path)
    trained(monkeypatch, given, "--epochs", "4", "--lr", "0.0005", "--out", str(first))
    init = str(first / "last.safetensors")
    trained(monkeypatch, given, "--steps", "1", "--init", init, "--out", str(second))
    before, after = read(first / "log.jsonl"), read(second / "log.jsonl")
    assert after[0]["step"] == 1
    assert after[0]["loss"] < before[0]["loss"] / 2


def test_more_validations_change_neither_rates_nor_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "{ kind = 'plateau', patience = 1 }"
    common = [plan(tmp_path), "--epochs", "3", "--schedule", table, "--lr", "0.01"]
    found = {}
    for name, options in (("few", []), ("many", ["--validate-every", "4"])):
        out = tmp_path / name
        trained(monkeypatch, *common, *options, "--out", str(out))
        records = read(out / "log.jsonl")
        validated = [r["step"] for r in records if "validation_loss" in r]
        found[name] = validated, (out / "last.safetensors").read_bytes()
    assert found["few"] == ([15, 30, 45], found["many"][1])
    assert found["many"][0] == sorted({*range(4, 46, 4), 15, 30, 45})


def test_parameters_that_are_to_be_fresh_are_drawn_as_without_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def states(name: str, *options: str) -> dict[str, bytes]:
        out = tmp_path / name
        trained(monkeypatch, plan(tmp_path), "--steps", "1", *options, "--out", str(out))
        found = load_file(out / "last.safetensors")
        return {n: v.tobytes() for n, v in found.items() if not n.endswith(".momentum")}

    old = states("old", "--seed", "1")
    new = states("new", "--seed", "2", "--lr", "0")
    init = ["--init", str(tmp_path / "old" / "last.safetensors"), "--fresh", "told.*"]
    mixed = states("mixed", "--seed", "2", "--lr", "0", *init)
    assert mixed == {n: (new if n.startswith("told.") else old)[n] for n in old}
    assert all(old[name] != new[name] for name in ("told.weight", "hidden.weight"))


def test_rates_are_those_of_the_recipe_and_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    trained(monkeypatch, plan(tmp_path), "--lr", "0", "--steps", "2", "--out", str(out))
    assert [record["lr"] for record in read(out / "log.jsonl") if "lr" in record] == [0, 0]


def test_minutes_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    trained(monkeypatch, plan(tmp_path), "--minutes", "1e-9", "--out", str(out))
    assert [r["step"] for r in read(out / "log.jsonl")] == [1, 1]


# ---------------------------------------------------------------------------- plans


def test_a_feed_that_nothing_supplies_is_named() -> None:
    graphs = oracle_train.programs(1, BATCH)
    good = oracle_train.plan_of(graphs, 1, BATCH)
    check(good)
    train = good.programs["train"]
    odd = replace(train.feeds[0], logical="temperature")
    bad = replace(good, programs={"train": replace(train, feeds=(*train.feeds, odd))})
    with pytest.raises(Error, match="program train: unknown feed 'temperature'; expected images"):
        check(bad)


def test_a_plan_that_cannot_train_is_refused() -> None:
    good = oracle_train.plan_of(oracle_train.programs(1, BATCH), 1, BATCH)
    with pytest.raises(Error, match="cannot train: its programs are evaluate"):
        check(replace(good, programs={"evaluate": good.programs["evaluate"]}))
    mute = replace(good.programs["train"], outputs=())
    with pytest.raises(Error, match="program train: expected the outputs loss, top1, top5"):
        check(replace(good, programs={"train": mute}))


# ---------------------------------------------------------------------------- pictures


def test_a_trace_has_a_row_for_each_device_and_arrows_between_them() -> None:
    towers = two_devices()
    profile = Profile(Prediction(towers, towers.binding, cores=2))
    kernel = Run(index=0, device=0, kernel="halve", offsets=(), writes=("y", "z"))
    move = Move(index=1, value="y", source=0, source_offset=0, target=1, target_offset=0, bytes=64)
    for time_ in (1.0, 2.0):
        profile.watch(Event(device=0, step=kernel, start=time_, end=time_ + 0.1))
        profile.watch(Event(device=0, step=move, start=time_ + 0.1, end=time_ + 0.2))
        profile.watch(Event(device=1, step=move, start=time_ + 0.1, end=time_ + 0.3))
    trace = profile.trace()
    assert all("predicted_ms" in str(e["args"]) for e in trace if e["ph"] == "X")
    assert [e["tid"] for e in trace if e["ph"] == "M"] == [0, 1]
    assert next(e["name"] for e in trace if e["ph"] == "X" and e["tid"] == 0) == "y, z"
    starts, ends = ([e for e in trace if e["ph"] == side] for side in "sf")
    assert [e["tid"] for e in starts] == [0, 0]
    assert [e["tid"] for e in ends] == [1, 1]
    assert [e["id"] for e in starts] == [e["id"] for e in ends]
    assert len({e["id"] for e in starts}) == 2


def test_a_profile_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "trace.json"
    options = ["--steps", "12", "--out", str(tmp_path), "--profile", str(trace)]
    trained(monkeypatch, plan(tmp_path), *options)
    slices = [e for e in json.loads(trace.read_text())["traceEvents"] if e["ph"] == "X"]
    assert len(slices) == 10


# ---------------------------------------------------------------------------- the command


def test_a_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = plan(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    trained(monkeypatch, given, "--dry-run")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_says_what_would_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(monkeypatch, plan(tmp_path), "--dry-run", "--epochs", "3", "--seed", "5")
    out = capsys.readouterr().out
    for words in ("45 steps, 15 an epoch", "seed 5", "images u8[100, 3, 9, 9]", "4 rates"):
        assert words in out


def refused(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, words: str, code: Exit = Exit.USAGE
) -> None:
    with pytest.raises(Error, match=words) as caught:
        trained(monkeypatch, *arguments)
    assert caught.value.exit == code
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = command(plan(tmp_path), "--lr", "1e30", "--out", str(out))
    assert_refused(done, "the loss is", "a lower --lr may help", "none yet", code=Exit.NUMERICS)
    assert not (out / "last.safetensors").exists()


def test_a_run_that_diverges_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [plan(tmp_path), "--out", str(tmp_path)]
    trained(monkeypatch, *given, "--steps", "2")
    last = tmp_path / "last.safetensors"
    before = last.read_bytes()
    words = f"{last} of step 2"
    refused(monkeypatch, *given, "--resume", "--lr", "1e30", words=words, code=Exit.NUMERICS)
    assert last.read_bytes() == before


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_checkpoints_are_kept_and_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    given = [plan(tmp_path), "--lr", "0.02", "--keep", str(keep), "--checkpoint-every", "10"]
    trained(monkeypatch, *given, "--epochs", "3", "--out", str(tmp_path))
    steps = [10, 15, 20, 30, 40, 45][-keep:]
    files = sorted(tmp_path.glob("step-*"))
    assert [path.name for path in files] == [f"step-{n:07}.safetensors" for n in steps]
    last, best = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    assert last.samefile(files[-1])
    records = [r for r in read(tmp_path / "log.jsonl") if "validation_top1" in r]
    step = max(records, key=lambda record: record["validation_top1"])["step"]
    assert f'"step": "{step}"'.encode() in best.read_bytes()


def test_a_plateau_divides_the_rate_and_then_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "{ kind = 'plateau', patience = 1, drops = 2 }"
    given = [plan(tmp_path), "--epochs", "50", "--out", str(tmp_path)]
    trained(monkeypatch, *given, "--schedule", table)
    log = read(tmp_path / "log.jsonl")
    errors = tuple(1 - r["validation_top1"] for r in log if "validation_top1" in r)
    schedule = Plateau(patience=1, drops=2)
    assert [schedule.ended(errors[:n]) for n in range(len(errors) + 1)].index(True) == len(errors)
    for record in log:
        if "lr" in record:
            past = errors[: int(record["epoch"]) - 1]
            assert record["lr"] == 0.004 / schedule.divisor(Fraction(0), 50, past)
    assert "the recipe's schedule ended the run" in capsys.readouterr().err
    before = (tmp_path / "last.safetensors").read_bytes()
    trained(monkeypatch, *given, "--resume")
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_a_run_records_its_recipe_and_a_resumed_one_keeps_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    given = [plan(tmp_path), "--out", str(out), "--resume", "--seed", "3"]
    trained(monkeypatch, *given, "--steps", "1", "--lr", "0.02", "--set", "augment.shared=8")
    trained(monkeypatch, *given, "--steps", "3")
    recipe = recipes.read(str(out / "recipe.toml"))
    assert (recipe.rate, recipe.augment.shared) == (0.02, 8)
    facts = json.loads((out / "run.json").read_text("utf-8"))
    assert msgspec.convert(facts["recipe"], Recipe) == recipe
    assert facts["plan"] == hashlib.sha256((tmp_path / "plan1.json").read_bytes()).hexdigest()
    assert (facts["seed"], facts["step"]) == (3, 3)
    assert {"numpy", "python"} <= facts["versions"].keys()


def test_rules_reach_the_parameters_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("hidden.*", "told.weight"):
        out = tmp_path / name
        rule = f"parameters = [{{ names = '{name}', after = 1, rate = 0 }}]"
        given = [plan(tmp_path), "--checkpoint-every", "15", "--keep", "9", "--set", rule]
        trained(monkeypatch, *given, "--steps", "20", "--out", str(out))
        files = (out / f"step-{step:07}.safetensors" for step in (15, 20))
        before, after = map(load_file, files)
        found.append({n for n in before if np.array_equal(before[n], after[n])})
    momenta = {"hidden.weight.momentum", "hidden.bias.momentum"}
    assert found == [
        {"hidden.weight", "hidden.bias"} | momenta,
        {"told.weight", "told.weight.momentum"},
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "faces"], "'faces'; expected one of digits, photos"),
        (
            ["--recipe", "code145"],
            "names 'conv1.weight' are none of the plan's; expected some like",
        ),
        (["--recipe", "none.toml"], "none.toml: cannot be read: No such file"),
        (["--init", "a", "--fresh", "x.*"], "--fresh: 'x.*' are none of the plan's; expected some"),
        (["--fresh", "told.*"], "--fresh told.*: without --init all are drawn; expected --init"),
    ],
)
def test_what_does_not_fit_the_plan_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    refused(monkeypatch, plan(tmp_path), *arguments, words=words)


def test_the_step_that_diverged_is_named_though_the_next_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, steps = set(), []
    for ahead in (0, 1):
        monkeypatch.setattr(oracle_train.OracleExecutor, "ahead", ahead)
        out = tmp_path / str(ahead)
        with pytest.raises(Error) as caught:
            trained(monkeypatch, plan(tmp_path), "--lr", "1e30", "--out", str(out))
        said.add(str(caught.value))
        steps.append(len(read(out / "log.jsonl")))
        assert not (out / "last.safetensors").exists()
    assert len(said) == 1
    assert f"at step {steps[0] + 1}," in said.pop()
    assert steps[0] == steps[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--init", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--out", "/dev/null/run"], "/dev/null/run: cannot be made"),
        (["--log", "/dev/null/log"], "/dev/null/log: cannot be written"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    refused(monkeypatch, plan(tmp_path), "--out", str(tmp_path / "run"), *arguments, words=words)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--keep", "0"),
        ("--steps", "0"),
        ("--lr", "nan"),
        ("--seed", str(2**32)),
        ("--bias-rate", "1e300"),
    ],
)
def test_wrong_options_are_refused(
    arguments: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        trained(monkeypatch, plan(tmp_path), *arguments)
    assert caught.value.code == Exit.USAGE
    assert arguments[0] in capsys.readouterr().err


def test_no_minutes_are_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(monkeypatch, plan(tmp_path), "--out", str(tmp_path), "--minutes", "0")
    assert [r["step"] for r in read(tmp_path / "log.jsonl") if "loss" in r] == [1]


def test_two_runs_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [plan(tmp_path), "--out", str(tmp_path / "run")]
    trained(monkeypatch, *given, "--steps", "1")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with files.alone(tmp_path / "run", "training into it"):
        refused(monkeypatch, *given, words="run: another process is training into it")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_another_seed_than_the_checkpoint_s_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [plan(tmp_path), "--out", str(tmp_path)]
    trained(monkeypatch, *given, "--steps", "1")
    refused(monkeypatch, *given, "--resume", "--seed", "9", words="its seed is 0; --seed is 9")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.oracle_train", plan(tmp_path), "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "PAUSE": "0.05"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not read(out / "log.jsonl"):
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    steps = len([record for record in read(out / "log.jsonl") if "loss" in record])
    assert process.returncode == Exit.STOPPED, err
    assert f"after step {steps};" in err
    assert "Traceback" not in err
    rest = ["--resume", "--steps", str(steps + 1)]
    trained(monkeypatch, plan(tmp_path), "--out", str(out), *rest)
    assert [r["step"] for r in read(out / "log.jsonl") if "loss" in r] == list(range(1, steps + 2))


def test_a_second_signal_is_not_waited_for() -> None:
    with Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.reason == "Ctrl-C"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [plan(tmp_path), "--out", str(tmp_path)]
    trained(monkeypatch, *given, "--steps", "1")
    before = (tmp_path / "last.safetensors").read_bytes()
    words = "/dev/full: cannot be written: No space left.* of step 1"
    refused(monkeypatch, *given, "--resume", "--log", "/dev/full", words=words)
    assert (tmp_path / "last.safetensors").read_bytes() == before
