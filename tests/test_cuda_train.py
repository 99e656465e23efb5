"""`runtime.train` on simulated GPUs: what it learns, says and refuses."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from ir import plan as plans
from ir.command import Error, Exit
from runtime import devices, train
from runtime.cuda.executor import REST
from runtime.log import read
from tests.cuda_plans import folder, on_gpus, simulated
from tests.learner import ARENA, learner
from tests.simulated_gpu import GB


def plan(tmp_path: Path) -> str:
    """The path of the plan that learns nothing, for two GPUs."""
    shutil.copytree(folder(), tmp_path / "plan")
    plans.write(on_gpus(learner()), tmp_path / "plan.json")
    return str(tmp_path / "plan.json")


def trained(
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    out: Path,
    *options: str,
    seed: int = 0,
    room: int = GB,
) -> bytes:
    """The checkpoint of a run."""
    monkeypatch.setattr(devices, "Driver", lambda: simulated(seed=seed, room=room))
    monkeypatch.setattr(sys, "argv", ["train", path, "--out", str(out), *options])
    train.main()
    return (out / "last.safetensors").read_bytes()


def test_runs_give_the_same_bits_however_bound_or_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plan(tmp_path)
    ways = {
        "two": [["--devices", "cuda:0,cuda:1"]],
        "one": [["--devices", "cuda:0,cuda:0"]],
        "cut": [["--steps", "20"], ["--resume", "--profile", str(tmp_path / "trace.json")]],
        "saved": [["--checkpoint-every", "7"]],
    }
    for seed, (name, runs) in enumerate(ways.items()):
        for options in runs:
            trained(monkeypatch, path, tmp_path / name, "--steps", "100", *options, seed=seed)
    assert len({(tmp_path / name / "last.safetensors").read_bytes() for name in ways}) == 1
    one, two = (read(tmp_path / name / "log.jsonl") for name in ("one", "two"))
    assert [r["step"] for r in one if "loss" in r] == list(range(1, 101))
    assert [r.get("loss") for r in one] == [r.get("loss") for r in two]
    assert [r.get("validation_loss") for r in one] == [r.get("validation_loss") for r in two]
    shown = capsys.readouterr().err
    assert re.search(r"^step +ms predicted +share$", shown, re.MULTILINE)
    assert re.search(r"^predicted [\d.]+ ms of [\d.]+: error", shown, re.MULTILINE)
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {event["name"] for event in trace if event["ph"] == "X"} >= {"transfer weight1"}


def test_what_each_gpu_holds_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(monkeypatch, plan(tmp_path), tmp_path / "run", "--steps", "1")
    shown = capsys.readouterr().err
    for row in ("cuda:0   arena of device 0", "cuda:1   arena of device 1", "cuda:1   free"):
        assert row in shown


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (["--threads", "2"], "--threads 2: the plan runs on GPUs", Exit.USAGE),
        (["--devices", "cpu:0,cpu:1"], "'cpu:0' cannot run what was built for cuda", Exit.USAGE),
        (["--devices", "cuda:0,cuda:9"], "cuda:9 does not exist", Exit.USAGE),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str, code: Exit
) -> None:
    with pytest.raises(Error, match=words) as caught:
        trained(monkeypatch, plan(tmp_path), tmp_path / "run", *options)
    assert caught.value.exit == code
    assert "\n" not in str(caught.value)


def test_a_small_gpu_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Error, match="expected a smaller network or another machine") as caught:
        trained(monkeypatch, plan(tmp_path), tmp_path / "run", room=REST + ARENA)
    assert caught.value.exit == Exit.NO_FIT
    assert "cuda:0   feeds" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_needs_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", plan(tmp_path), "--dry-run"])
    train.main()
    assert "MB for each device" in capsys.readouterr().out
