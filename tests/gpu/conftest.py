"""The plans that tests on a GPU run, from the folder that `--plans` names."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from codegen.tuning.cuda.single import single
from ir.command import Error, Exit
from ir.plan import Plan, folder, read
from runtime.cuda.driver import Driver
from runtime.cuda.executor import CudaExecutor
from runtime.devices import open_executor
from runtime.executor import Executor


@pytest.fixture(scope="session", autouse=True)
def require_gpu() -> None:
    """Where none can be used, one line says why and nothing is run."""
    try:
        if not Driver().count():
            raise Error("the driver finds no GPU, expected one")
    except Error as error:
        pytest.exit(str(error), Exit.USAGE)


@pytest.fixture(scope="session")
def plans(request: pytest.FixtureRequest) -> Path:
    """Where they are, one folder each."""
    found = request.config.getoption("--plans")
    if found is None:
        pytest.fail("expected --plans FOLDER, as `python -m tests.gpu.build FOLDER` makes it")
    return Path(found)


@pytest.fixture(scope="session")
def began() -> float:
    return time.monotonic()


@pytest.fixture(autouse=True)
def left(request: pytest.FixtureRequest, began: float) -> float:
    """Seconds. A test that would begin too late is skipped, so that the others are reported."""
    seconds = request.config.getoption("--seconds")
    left = float("inf") if seconds is None else float(began + seconds - time.monotonic())
    if left < 0:
        pytest.skip(f"not begun within {seconds:.0f} seconds")
    return left


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Once a kernel has broken the GPU, or rather this process's use of it, all others would fail
    too."""
    if report.failed and not _answers():
        pytest.exit(f"the GPU does not answer after {report.nodeid}", Exit.NUMERICS)


def _answers() -> bool:
    try:
        with closing(Driver()) as driver:
            driver.open(0)
            driver.synchronise(0)
    except Error:
        return False
    return True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`kernel` is each kernel, once; `network` each plan that runs anything."""
    paths = sorted(Path(metafunc.config.getoption("--plans") or "/nowhere").glob("*/plan.json"))
    if "kernel" in metafunc.fixturenames:
        kernels = _kernels(paths)
        metafunc.parametrize("kernel", kernels.values(), ids=kernels)
    if "network" in metafunc.fixturenames:
        networks = [path for path in _smallest_first(paths) if _runs(read(path))]
        metafunc.parametrize("network", networks, ids=[path.parent.name for path in networks])


def _kernels(paths: list[Path]) -> dict[str, tuple[Path, str]]:
    """The plan and the name of each, those of small plans first."""
    found: dict[str, tuple[Path, str]] = {}
    for path in _smallest_first(paths):
        for name in read(path).kernels:
            if (folder(path) / "kernels" / f"{name}.ir").exists():
                found.setdefault(name, (path, name))
    return found


def _smallest_first(paths: list[Path]) -> list[Path]:
    """Plans whose kernels move least come first: time may not be enough for all."""
    return sorted(paths, key=lambda path: sum(k.moved for k in read(path).kernels.values()))


def _runs(plan: Plan) -> bool:
    return any(program.steps for program in plan.programs.values())


class Singles:
    """Executors of one kernel at a time; the last one used stays open."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._executor: Executor | None = None

    def open(self, path: Path) -> Executor:
        """The executor for a plan's kernels."""
        if path != self._path or self._executor is None:
            self.close()
            self._executor = open_executor(single(read(path)), folder(path))
            self._path = path
        return self._executor

    def close(self) -> None:
        """Let go of the GPU."""
        if self._executor is not None:
            self._executor.close()
        self._executor = None


@pytest.fixture(scope="module")
def singles() -> Iterator[Singles]:
    opened = Singles()
    yield opened
    opened.close()


def fill_scratch(executor: Executor, kernel: str, byte: int) -> None:
    """Let the scratch of a kernel hold garbage."""
    assert isinstance(executor, CudaExecutor)
    driver, (device,) = executor._driver, executor._machine.devices
    garbage = np.full(executor.plan.kernels[kernel].code.scratch, byte, np.uint8)
    if garbage.size:
        driver.upload(device.scratch, garbage, device.compute)
        driver.synchronise(device.gpu)
