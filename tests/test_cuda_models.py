"""Every model for GPUs, without one: its binaries inspected, its sources run against the oracle.

A sample is the paper's net for one architecture; `--full` takes every model for two.
"""

from pathlib import Path

import pytest

from codegen import validate
from codegen.assemble import Assembled, Options, assemble
from codegen.cuda import emulator, toolchain
from codegen.cuda.emulated import EmulatedExecutor
from codegen.cuda.source import functions
from codegen.folder import publish
from codegen.targets import cuda
from ir import plan as plans
from ir.command import Error
from ir.plan import Cubins, Kernel
from tests.models import SMALL

FULL = ("sm_80", "sm_90a")
SAMPLE = ("sm_90a",)
TWO, ONE = ("cuda:0", "cuda:0"), ("cuda:0",)
MOST_SHARED = 48 * 1024
MOST_REGISTERS = 255


def why_not() -> str:
    """What is missing here to build for GPUs and to run their sources, if anything."""
    try:
        toolchain.find()
    except Error as error:
        return str(error)
    return "" if emulator.available() else "no C++ compiler to run CUDA C with"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("binding", [TWO, ONE], ids=["two", "one"])
def test_kernels_of_a_model(
    request: pytest.FixtureRequest, tmp_path: Path, model: str, binding: tuple[str, ...]
) -> None:
    full = request.config.getoption("full")
    if not full and (model, binding) != ("paper", TWO):
        pytest.skip("one of the sample: `make test-all` takes all")
    assembled = built(model, binding, FULL if full else SAMPLE, tmp_path)
    for key, kernel in assembled.plan.kernels.items():
        inspect(kernel, assembled.files, key)
    with EmulatedExecutor(assembled.plan, tmp_path / "plan", "backward") as executor:
        for name, program in assembled.programs.items():
            assert list(validate.validate(executor, name, program, seed=1))


def built(model: str, binding: tuple[str, ...], arches: tuple[str, ...], folder: Path) -> Assembled:
    """A model's plan, written to a folder."""
    assembled = assemble(SMALL[model](), Options(binding, cuda(arches)))
    publish(assembled.plan, folder / "plan.json", assembled.files)
    plans.read(folder / "plan.json")
    return assembled


def inspect(kernel: Kernel, files: dict[str, bytes], key: str) -> None:
    """Fail unless there is machine code for each architecture, within a GPU's limits."""
    assert isinstance(kernel.code, Cubins), key
    source = files[f"kernels/{key}.cu"].decode()
    symbols = {launch.symbol for launch in kernel.code.launches}
    assert symbols == set(functions(source)), key
    for binary in kernel.code.files.values():
        cubin = files[binary.file]
        assert cubin.startswith(b"\x7fELF"), binary.file
        assert all(f".text.{symbol}\0".encode() in cubin for symbol in symbols), binary.file
    for launch in kernel.code.launches:
        threads = launch.block[0] * launch.block[1] * launch.block[2]
        assert launch.block[0] == 32, "a warp is not a row of threads"
        assert launch.shared <= MOST_SHARED, key
        assert 0 < launch.registers <= MOST_REGISTERS, key
        assert launch.registers * threads <= 65536, f"{key}: no block fits on a processor"
