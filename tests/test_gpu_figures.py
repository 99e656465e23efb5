"""What the benchmark on a GPU counts, compares and prints, as far as it works without one."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import gpu, gpu_kernels, gpu_steps
from benchmarks.contest import Contestant
from benchmarks.gpu_kernels import Measured
from benchmarks.gpu_steps import LEAST, ORDER, Contest, contests, held, table
from benchmarks.gpu_worker import FED, ONE, TWO, our_step
from codegen.tuning import records
from codegen.tuning.cuda import ceilings
from codegen.tuning.cuda.ceilings import Ceilings
from codegen.tuning.cuda.noise import CHUNK, fill, noise
from codegen.tuning.cuda.single import places, single
from ir.command import Error
from ir.graph import Graph
from ir.ops import apply
from ir.plan import folder, read
from ir.type import DType, TensorType
from runtime.cuda.driver import Gpu
from runtime.devices import open_executor
from runtime.memory import decoded
from tests import built
from tests.gpu.build import PLANS

CEILINGS = Ceilings({"f32": 2e12, "tf32": 8e12, "bf16": 16e12}, 1e12, 1e-6)


def plan_path() -> Path:
    return built.built(devices=built.ONE) / "plan.json"


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    """A folder of plans, of which all are one for a CPU."""
    for name in PLANS:
        (tmp_path / name).symlink_to(plan_path().parent)
    return tmp_path


# -------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_noise_is_small_whatever_its_type(dtype: str) -> None:
    values = decoded(noise(dtype), dtype)
    assert noise(dtype).nbytes == CHUNK
    assert np.isfinite(values).all()
    assert 0.009 < values.std() < 0.011
    assert np.abs(values).max() < 0.1


def test_integers_are_in_every_range() -> None:
    assert not noise("i32").any()


def test_all_arguments_of_a_kernel_are_filled() -> None:
    path = plan_path()
    with open_executor(single(read(path)), folder(path)) as executor:
        for kernel in executor.plan.kernels.values():
            fill(executor, kernel)
            for begin, argument in zip(places(kernel), kernel.arguments, strict=False):
                found = executor.memories[0].read(begin, argument.bytes)
                assert np.array_equal(found, noise(argument.dtype)[: argument.bytes])


# -------------------------------------------------------------------------------- kernels


@pytest.mark.parametrize(
    ("dtype", "math", "expected"),
    [(DType.F32, "f32", "f32"), (DType.F32, "tf32", "tf32"), (DType.BF16, "f32", "bf16")],
)
def test_a_kernel_s_ceiling_is_that_of_its_operands(dtype: DType, math: str, expected: str) -> None:
    x = apply("input", name="x", type=TensorType((3, 4), dtype))
    w = apply("input", name="w", type=TensorType((5, 4), dtype))
    y = apply("dense", x, w, name="y", math=math)
    z = apply("relu", y, name="z")
    assert gpu_kernels.form(Graph("dense", (x, w, y, z), (z,))) == expected
    assert gpu_kernels.form(Graph("relu", (x, r := apply("relu", x, name="r")), (r,))) == "f32"


def test_ceilings_are_of_operations_or_of_bytes() -> None:
    assert CEILINGS.least("f32", 2_000, 10) == 1e-9
    assert CEILINGS.least("bf16", 2_000, 10) == 2_000 / 16e12
    assert CEILINGS.least("bf16", 2_000, 1_000) == 1e-9


def test_a_table_adds_up_all_kernels() -> None:
    one = Measured("conv-1", 2, "bf16", 16_000_000, 10, 3e-6, 2e-6)
    two = Measured("relu-2", 1, "f32", 10, 6_000_000, 8e-6, 12e-6)
    *_, first, second, last = gpu_kernels.table([one, two], CEILINGS)
    assert first.split() == ["conv-1", "bf16", "2", "2.0", "3.0", "25.0%", "8000", "0", "50%"]
    assert second.split() == ["relu-2", "f32", "1", "12.0", "8.0", "75.0%", "0", "500", "50%"]
    assert last == "2 kernels, 0.016 ms a step, 50% of the ceilings"
    assert one.facts(CEILINGS)["of ceiling"] == 0.5


def test_the_least_time_of_a_step_is_that_of_its_kernels() -> None:
    rows = gpu_kernels.rows(plan_path())
    assert {row.form for row in rows} == {"f32"}
    times = [row.calls * max(row.flops / 2e12, row.bytes / 1e12) for row in rows]
    assert gpu_kernels.least(plan_path(), CEILINGS) == pytest.approx(sum(times))


# --------------------------------------------------------------------------------- steps


def test_ceilings_are_kept_for_builds(
    plans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, out = Gpu("NVIDIA H200", "sm_90a", 132), tmp_path / "out"
    monkeypatch.setattr(gpu, "gpus", lambda: [card])
    monkeypatch.setattr(ceilings, "measured", lambda path: CEILINGS)
    monkeypatch.setattr(gpu_steps, "held", lambda *given: [[{"name": ONE}]])
    monkeypatch.setattr(gpu, "_kernels", lambda *given: [])
    monkeypatch.setattr(sys, "argv", ["gpu", "--plans", str(plans), "--out", str(out)])
    gpu.main()
    figures = json.loads((out / "nvidia-h200.json").read_text())
    assert figures["ceilings"] == {"flops": CEILINGS.flops, "bytes": 1e12, "launch": 1e-6}
    assert figures["steps"] == [{"name": ONE}]
    assert records.read(out / "sm_90a.json").speeds == CEILINGS.speeds(card)


def options(seconds: float, **others: Any) -> argparse.Namespace:
    return argparse.Namespace(modes=(), rounds=2, seconds=seconds, **others)


def test_every_contest_has_a_plan(plans: Path) -> None:
    found = contests(plans, gpu_steps.PRECISIONS, gpu_steps.BATCHES)
    assert [(each.precision, each.batch) for each in found] == list(ORDER)
    assert list(Contest("bf16", 128).ours(plans)) == [ONE, TWO, FED]
    assert list(Contest("bf16", 1024).ours(plans)) == [ONE, FED]
    assert [str(each) for each in contests(plans, ["tf32"], [1024])] == ["tf32, batch 1,024"]


def test_what_was_not_built_is_told(plans: Path) -> None:
    with pytest.raises(Error, match=r"has no plan to measure, expected another precision"):
        contests(plans, ["fp32"], [256])
    with pytest.raises(Error, match=r"has no plan to measure, expected bf16-128, bf16-1024"):
        contests(plans / "small-bf16", ["bf16"], [128, 1024])


@pytest.mark.parametrize("seconds", [10.0, LEAST, 2.5 * LEAST, 100 * LEAST])
def test_the_first_contests_have_time_enough(
    plans: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    now, given = 0.0, list[float]()

    def whole(*arguments: Any) -> list[gpu_steps.Figures]:
        nonlocal now
        given.append(arguments[3])
        now += arguments[3]
        return [{"name": ONE}]

    monkeypatch.setattr(gpu_steps, "_held", whole)
    monkeypatch.setattr("benchmarks.gpu_steps.time.monotonic", lambda: now)
    every = contests(plans, gpu_steps.PRECISIONS, gpu_steps.BATCHES)
    rows = [row for each in held(every, plans, CEILINGS, options(seconds)) for row in each]
    assert [(row["precision"], row["batch"]) for row in rows] == list(ORDER)
    assert len(given) == min(len(ORDER), max(1, seconds // LEAST))
    assert sum(given) == pytest.approx(seconds)
    assert all(each >= min(seconds, LEAST) - 1e-6 for each in given)
    assert ["failed" in row for row in rows] == [n >= len(given) for n in range(len(ORDER))]


def test_contestants_do_steps(plans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (rows,) = held([Contest("fp32", 128)], plans, CEILINGS, options(60))
    assert [row["name"] for row in rows] == [ONE, TWO, FED]
    assert all(len(row["seconds"]) == 2 for row in rows)  # type: ignore[arg-type]
    assert all(row["predicted"] == gpu_steps.predicted(plan_path()) > 0 for row in rows)
    assert "fp32, batch 128" in capsys.readouterr().out


def test_a_table_compares_with_our_first() -> None:
    ours, theirs = (Contestant(name, ["true"], {}) for name in (ONE, "compile"))
    ours.seconds, theirs.seconds = [4e-3, 2e-3, 3e-3], [6e-3]
    _, _, first, second = table(Contest("bf16", 1024), [ours, theirs], 1.5e-3, {ONE: 2.5e-3})
    assert first.split()[-6:] == ["3.000", "2.000", "2.500", "341333", "1.00", "50%"]
    assert second.split()[-6:] == ["6.000", "6.000", "-", "170667", "2.00", "25%"]
    for each in (ours, theirs):
        each.leave()


def test_a_worker_feeds_new_images_or_the_same() -> None:
    for fed in (False, True):
        step, wait = our_step(plan_path(), fed=fed)
        for _ in range(3):
            step()
        assert wait()
