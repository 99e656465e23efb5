"""Resuming: a run that was killed at any moment ends with the bytes of one that was not."""

import json
import random
import signal
from pathlib import Path

import pytest

from runtime.log import read
from tests.commands import python
from tests.oracle_runs import plan, timeless, trained

OPTIONS = ["--seed", "5", "--epochs", "4", "--checkpoint-every", "4", "--keep", "3"]
OPTIONS += ["--validate-every", "5"]
OPTIONS += ["--schedule", "{ kind = 'plateau', patience = 1, drops = 2 }", "--lr", "0.01"]
MOMENTS = [*range(4), *(pytest.param(i, marks=pytest.mark.full) for i in range(4, 30))]


def contents(out: Path) -> dict[str, bytes]:
    """The checkpoints by name; links count as files."""
    return {path.name: path.read_bytes() for path in out.glob("*.safetensors*")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """What moments a run has, and the folder that it leaves."""
    out = tmp_path_factory.mktemp("unbroken")
    done = python("tests.killed", "0", plan(out, accumulate=2), *OPTIONS, "--out", str(out))
    assert done.code == 0, done.err
    moments: list[str] = json.loads(done.out.splitlines()[-1])
    return moments, out


def test_the_run_that_is_killed_has_moments_of_every_kind_and_drops_its_rate(
    unbroken: tuple[list[str], Path],
) -> None:
    moments, out = unbroken
    assert set(moments) == {"step", "tensor", "log", "os.rename", "os.link", "os.remove"}
    assert len({record["lr"] for record in read(out / "log.jsonl") if "lr" in record}) > 1


@pytest.mark.parametrize("number", MOMENTS)
def test_a_killed_run_leaves_no_trace(
    number: int, unbroken: tuple[list[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments, whole = unbroken
    # Every other one strikes while a checkpoint is written, linked, or an old one removed.
    inside = [i for i, kind in enumerate(moments, 1) if kind not in ("step", "log")]
    chosen = random.Random(number).choice(inside if number % 2 else range(1, len(moments) + 1))
    given = [plan(tmp_path, accumulate=2), *OPTIONS, "--out", str(tmp_path)]
    done = python("tests.killed", str(chosen), *given)
    assert done.code == -signal.SIGKILL, done.err
    trained(monkeypatch, *given, "--resume")
    assert contents(tmp_path) == contents(whole)
    assert timeless(tmp_path / "log.jsonl") == timeless(whole / "log.jsonl")
