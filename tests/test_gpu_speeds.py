"""What a GPU can do at most, from kernels that are timed; predictions that follow from it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from codegen.cuda import toolchain
from codegen.targets import Cuda
from codegen.tuning.cuda import ceiling_kernels, ceilings, timing
from codegen.tuning.cuda.ceilings import Ceilings
from ir import plan as plans
from ir.command import Error
from ir.plan import Cubins, Work
from ir.plan.prediction import Prediction, kernel_seconds
from runtime import devices
from runtime.cuda.driver import Gpu
from tests import cuda_plans
from tests.plans import two_devices

H200 = Gpu("NVIDIA H200", "sm_90a", 132)
CEILINGS = Ceilings({"f32": 64e12, "tf32": 400e12, "bf16": 800e12}, 4e12, 1.5e-6)

# ------------------------------------------------------------------------------- the clock


def test_kernels_are_timed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = SimpleNamespace(made=0)

    def simulated() -> object:
        driver.made += 1
        return cuda_plans.simulated(1)

    monkeypatch.setattr(devices, "Driver", simulated)
    plan = cuda_plans.on_gpus(two_devices())
    spent = timing.seconds(plan, cuda_plans.folder())
    assert driver.made == 1
    assert spent.keys() == plan.kernels.keys()
    assert all(seconds > 0 for seconds in spent.values())


def test_ceilings_follow_from_what_kernels_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        compiler = toolchain.find()
    except Error as error:
        pytest.skip(str(error))
    ceiling_kernels.build(tmp_path / "plan.json", Cuda("none", ("sm_90a",), compiler.name))
    taken = {"f32": 1e-3, "tf32": 2e-3, "bf16": 1e-3, "copy": 5e-4, "launch": 1e-4}
    monkeypatch.setattr(timing, "seconds", lambda plan, directory: dict(taken))
    found = ceilings.measured(tmp_path / "plan.json")
    kernels = plans.read(tmp_path / "plan.json").kernels
    assert found.flops == {form: kernels[form].flops / taken[form] for form in found.flops}
    assert found.flops.keys() == {"f32", "tf32", "bf16"}
    assert found.bytes == 2 * ceiling_kernels.COPIED / 5e-4
    assert found.launch == pytest.approx(1e-6)


# ------------------------------------------------------------------------------- predictions

WORK = Work(*[0] * len(Work.__struct_fields__))


@pytest.fixture(scope="module")
def kernel() -> plans.Kernel:
    """One that fills a card."""
    plan = cuda_plans.on_gpus(two_devices())
    return launched(plan.kernels["halve"], 132)


def launched(kernel: plans.Kernel, blocks: int) -> plans.Kernel:
    """The same in so many blocks of threads."""
    assert isinstance(kernel.code, Cubins)
    binaries = {
        arch: replace(
            cubin, launches=tuple(replace(each, grid=(blocks, 1, 1)) for each in cubin.launches)
        )
        for arch, cubin in kernel.code.binaries.items()
    }
    return replace(kernel, code=Cubins(binaries))


@pytest.mark.parametrize("kind", ["multiply_adds", "tf32", "bf16"])
def test_predictions_are_what_the_ceilings_allow(kernel: plans.Kernel, kind: str) -> None:
    speeds, form = CEILINGS.speeds(H200), "f32" if kind == "multiply_adds" else kind
    some = replace(kernel, work=replace(WORK, **{kind: 10**9}), moved=10)
    more = replace(some, work=replace(WORK, **{kind: 2 * 10**9}))
    least = 32 * 10**9 / CEILINGS.flops[form]
    assert kernel_seconds(some, speeds, 1) == pytest.approx(least + CEILINGS.launch, rel=1e-2)
    assert kernel_seconds(more, speeds, 1) > kernel_seconds(some, speeds, 1)
    moving = replace(some, moved=10**12)
    assert kernel_seconds(moving, speeds, 1) == pytest.approx(0.25, rel=1e-2)


def test_processors_that_idle_take_time(kernel: plans.Kernel) -> None:
    speeds = CEILINGS.speeds(H200)
    working = replace(kernel, work=replace(WORK, bf16=10**10))
    whole = kernel_seconds(working, speeds, 1) - CEILINGS.launch
    for blocks, longer in ((66, 2), (264, 1), (133, 2 * 132 / 133), (1, 132)):
        seconds = kernel_seconds(launched(working, blocks), speeds, 1) - CEILINGS.launch
        assert seconds == pytest.approx(longer * whole, rel=1e-2)


def test_a_step_is_predicted_by_the_plan_s_own_speeds() -> None:
    plan = cuda_plans.on_gpus(two_devices())
    slow = replace(plan, predicted=replace(plan.predicted, launch=2 * plan.predicted.launch))
    one, other = (
        Prediction(each, each.binding, 1).timeline(each.programs["train"]).seconds
        for each in (plan, slow)
    )
    assert one < other
