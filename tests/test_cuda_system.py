"""A small AlexNet trained for GPUs without one: GPUs simulated, kernels run by their sources."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from codegen.cuda import emulator
from codegen.cuda.emulated import source
from ir import plan as plans
from ir.eval import run_graph
from ir.plan import Cubins, Plan
from runtime import devices
from runtime.binding import bind
from runtime.cuda.driver import Gpu
from runtime.cuda.executor import CudaExecutor
from tests.closeness import assert_close
from tests.emulated import ARCH, TWO, built_for_gpus, why_not
from tests.simulated_gpu import Module, Modules, SimulatedDriver
from tests.test_cuda_models import check
from tests.test_system import (
    assert_agree,
    assert_updated,
    lively,
    run,
    run_step,
    trained,
    training_step,
)

BINDINGS = (TWO, "cuda:0,cuda:0")

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@lru_cache(maxsize=1)
def modules() -> Modules:
    """From a binary of the plan to its source, compiled for the host."""
    path = built_for_gpus() / "plan.json"
    plan, folder = plans.read(path), plans.folder(path)
    sources = dict(_sources(plan, folder))

    @lru_cache
    def found(image: bytes) -> Module:
        return emulator.compile(sources[image])

    return found


def _sources(plan: Plan, folder: Path) -> list[tuple[bytes, str]]:
    return [
        ((folder / cubin.file).read_bytes(), (folder / source(cubin)).read_text())
        for kernel in plan.kernels.values()
        if isinstance(kernel.code, Cubins)
        for cubin in kernel.code.binaries.values()
    ]


def simulated(seed: int) -> SimulatedDriver:
    return SimulatedDriver(modules(), [Gpu("Simulated", ARCH)] * 2, seed=seed)


def test_kernels_equal_the_oracle() -> None:
    path = built_for_gpus() / "plan.json"
    check(plans.read(path), path, "backward")


def test_two_steps_equal_the_oracle_s() -> None:
    graph, path = training_step(), built_for_gpus() / "plan.json"
    plan, values = plans.read(path), lively(graph)
    with CudaExecutor(plan, plans.folder(path), bind(plan, None), simulated(0)) as executor:
        for name in executor.states.names:
            executor.states.write(name, values[name].astype(np.float32))
        for step in (1, 2):
            values["step"] = np.asarray(step, np.uint32)
            run_step(executor, values)
            expected = run_graph(graph, values)
            for name, value in expected.outputs.items():
                assert_close(executor.output("train", name), value, 1e-6, f"{name} of step {step}")
            for name in executor.states.parameters:
                assert_updated(executor, expected.updates, name, step)
            values |= expected.updates


def test_training_gives_the_same_bits_however_bound_and_agrees_with_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for seed, binding in enumerate(BINDINGS):
        monkeypatch.setattr(devices, "Driver", lambda seed=seed: simulated(seed))
        out = tmp_path / str(seed)
        found.append(trained(monkeypatch, built_for_gpus(), out, "--devices", binding))
    assert found[0].read_bytes() == found[1].read_bytes()
    folder, _ = run()
    assert_agree(found[0], folder / "run" / "last.safetensors")
