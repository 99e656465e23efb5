"""The commands on a GPU, as a user runs them, and under NVIDIA's checkers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cuda.driver import Driver
from tests.commands import ROOT, assert_refused, python

pytestmark = pytest.mark.gpu

SMALL, LARGE = "small-fp32", "fp32-128-two"
PRECISIONS = ("bf16", "tf32", "fp32")
LEFT = 1_200_000_000
"""Bytes that are free when a plan asks for more; the driver takes some of them first."""
TOOLS = ("memcheck", "racecheck", "synccheck")
UNABLE = ("Device not supported", "Unable to find injection library")
SECONDS = 240.0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_twice_gives_the_same_checkpoint(
    plans: Path, tmp_path: Path, precision: str
) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which has the images, is not installed")
    for run in ("one", "two"):
        out = str(tmp_path / run)
        plan = plan_of(plans, f"small-{precision}")
        done = python("runtime.train", plan, "--steps", "5", "--out", out)
        assert done.code == 0, done.err
    one, two = (tmp_path / run / "last.safetensors" for run in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_gpu_that_is_not_there_is_refused(plans: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which has the images, is not installed")
    done = python("runtime.train", plan_of(plans, SMALL), "--devices", "cuda:0,cuda:99")
    assert_refused(done, "cuda:99", "GPU")


def test_too_little_memory_is_told_before_the_first_step(plans: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which has the images, is not installed")
    driver = Driver()
    driver.open(0)
    try:
        driver.allocate(0, driver.free(0) - LEFT)
        done = python("runtime.train", plan_of(plans, LARGE), "--out", str(tmp_path))
    finally:
        driver.close()
    assert_refused(done, "arena", "free", code=4)


def test_ceilings_and_tiles_are_measured(plans: Path, tmp_path: Path) -> None:
    pytest.importorskip("tvm", reason="TVM, which compiles the tiles to try, is not installed")
    record = tmp_path / "record.json"
    plan = plan_of(plans, "small-bf16")
    done = python("codegen.tune", plan, "--only", "dense_dx", "-o", str(record))
    assert done.code == 0, done.err
    found = json.loads(record.read_text())
    assert found["tiles"]
    assert found["speeds"]["origin"].startswith("measured on ")
    assert 0 < found["speeds"]["bf16"] < found["speeds"]["multiply_adds"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("tool", TOOLS)
def test_the_sanitizer_finds_nothing(plans: Path, tool: str, precision: str, left: float) -> None:
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not on the PATH; a CUDA toolkit has it")
    checked = [sys.executable, "-m", "codegen.validate", plan_of(plans, f"small-{precision}")]
    try:
        done = subprocess.run(
            [sanitizer, "--tool", tool, "--error-exitcode", "9", *checked],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            timeout=min(SECONDS, left),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        pytest.skip(f"{tool} did not end within {error.timeout:.0f} seconds")
    if any(words in done.stdout for words in UNABLE):
        pytest.skip(f"compute-sanitizer cannot watch this machine's GPU: {done.stdout[-300:]}")
    assert done.returncode == 0, done.stdout[-3000:]
    assert " 0 errors" in done.stdout or " 0 hazards" in done.stdout, done.stdout[-3000:]


def plan_of(plans: Path, name: str) -> str:
    """The path of a plan."""
    return str((plans / name / "plan.json").resolve())
