"""--check-numerics: the kernel that writes the first number that is none, with what it read."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir import plan as plans
from ir.command import Exit
from runtime import devices, train
from runtime.devices import open_executor
from runtime.executor import Executor
from runtime.log import read
from runtime.numerics import Checked, NumericsError, statistics
from tests.built import built
from tests.counts import cases
from tests.cuda_plans import folder, on_gpus, simulated
from tests.learner import BATCH, SHAPE, compiled, learner
from tests.plans import SIZE

HALF = SIZE  # of x.weight, on each device


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with open_executor(learner(), compiled()) as made:
        images = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
        for program in made.plan.programs:
            made.feed(program, "images", images)
            made.feed(program, "labels", np.zeros(BATCH, np.int32))
            made.feed(program, "weights", np.ones(BATCH, np.float32))
        made.feed("train", "x.weight.rate", np.float32(0.01))
        made.feed("train", "momentum", np.float32(0.9))
        yield made


def states(executor: Executor) -> dict[str, bytes]:
    return {name: executor.states.read(name).tobytes() for name in executor.states.names}


@cases(full=50, sample=10)
@given(seed=st.integers(0, 2**31))
def test_what_is_sound_is_computed_as_without(seed: int, executor: Executor) -> None:
    found = []
    for run in (executor.run, Checked(executor).run):
        executor.states.initialise(seed)
        outputs = [
            {n: v.tobytes() for n, v in run(p, None)().items()} for p in executor.plan.programs
        ]
        found.append((outputs, states(executor)))
    assert found[0] == found[1]


@cases(full=120, sample=15)
@given(place=st.integers(0, 2 * HALF - 1), bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_the_kernel_its_device_and_what_it_read_are_named(
    place: int, bad: float, executor: Executor
) -> None:
    executor.states.initialise(1)
    weights = executor.states.read("x.weight")
    weights[place] = bad
    executor.states.write("x.weight", weights)
    with pytest.raises(NumericsError) as caught:
        Checked(executor).run("train")
    device, said = place // HALF, str(caught.value)
    half = weights[device * HALF :][:HALF].ravel()
    kinds = "1 NaN and 0 infinite of" if np.isnan(bad) else "0 NaN and 1 infinite of"
    assert said.startswith(f"program train, step {device} of 4, kernel learn on device {device}: ")
    assert f"; weight{device}: min " in said
    read_ = said.partition(f"; weight{device}: ")[2].split(";")[0]
    assert kinds in read_
    assert f"max {half[np.isfinite(half)].max():g}" in read_
    assert "images: min 0, max 255, " in said


@cases(full=300, sample=30)
@given(
    value=st.lists(st.floats(-1e6, 1e6, width=32).map(lambda x: x + 0.0), min_size=1, max_size=30),
    nan=st.integers(0, 3),
    infinite=st.integers(0, 3),
)
def test_statistics_are_of_the_finite_numbers(value: list[float], nan: int, infinite: int) -> None:
    mixed = np.array([np.nan] * nan + value + [-np.inf] * infinite, np.float32)
    size = len(mixed)
    expected = f"min {min(value):g}, max {max(value):g}, mean {np.mean(value):g}, "
    assert statistics(mixed) == f"{expected}{nan} NaN and {infinite} infinite of {size}"


def test_statistics_of_nothing_finite_are_counts() -> None:
    assert statistics(np.array([np.nan, np.inf])) == "1 NaN and 1 infinite of 2"


# ------------------------------------------------------------------------------- commands


def trained(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["train", *arguments])
    train.main()


def test_a_run_that_diverges_names_the_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(compiled(), tmp_path / "plan")
    plans.write(learner(), tmp_path / "plan.json")
    given_ = [str(tmp_path / "plan.json"), "--out", str(tmp_path / "run"), "--check-numerics"]
    trained(monkeypatch, *given_, "--steps", "3")
    before = (tmp_path / "run/last.safetensors").read_bytes()
    with pytest.raises(NumericsError) as caught:
        trained(monkeypatch, *given_, "--steps", "9", "--resume", "--lr", "1e30")
    assert caught.value.exit == Exit.NUMERICS
    said = str(caught.value)
    assert said.startswith("at step 4: program train, step 3 of 4, kernel measure on device 0: ")
    assert "it wrote loss: 0 NaN and 1 infinite of 1; it read" in said
    assert said.endswith("last.safetensors of step 3")
    assert (tmp_path / "run/last.safetensors").read_bytes() == before
    assert len(read(tmp_path / "run/log.jsonl")) == 4


def test_padding_in_a_real_network_raises_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 images leave lanes of their second block empty."""
    found = []
    for way in ([], ["--check-numerics"]):
        out = tmp_path / str(len(way))
        given_ = [str(built() / "plan.json"), "--data", "photos", "--steps", "2", *way]
        trained(monkeypatch, *given_, "--out", str(out))
        found.append((out / "last.safetensors").read_bytes())
    assert found[0] == found[1]


def test_gpus_are_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder(), tmp_path / "plan")
    plans.write(on_gpus(learner()), tmp_path / "plan.json")
    monkeypatch.setattr(devices, "Driver", simulated)
    given_ = [str(tmp_path / "plan.json"), "--steps", "3"]
    found = []
    for way in ([], ["--check-numerics"]):
        out = tmp_path / str(len(way))
        trained(monkeypatch, *given_, *way, "--out", str(out))
        found.append((out / "last.safetensors").read_bytes())
    assert found[0] == found[1]
    rest = ["--lr", "1e30", "--check-numerics", "--out", str(tmp_path / "bad")]
    words = "kernel measure on device 0: it wrote loss: "
    with np.errstate(all="ignore"), pytest.raises(NumericsError, match=words):
        trained(monkeypatch, *given_, *rest)
