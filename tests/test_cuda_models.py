"""Every model for GPUs, without one: its binaries inspected, its sources run against the oracle.

`tests/test_cuda_system.py` has a small AlexNet for one architecture; here `--full` takes every
model for two.
"""

from pathlib import Path

import pytest

from codegen import validate
from codegen.assemble import Options, assemble
from codegen.cache import Cache
from codegen.cuda.emulated import EmulatedExecutor, source
from codegen.cuda.emulator import Order
from codegen.cuda.source import functions
from codegen.folder import publish
from codegen.targets import cuda
from frontend.alexnet import alexnet
from ir import plan as plans
from ir.plan import Cubins, Kernel, Launch, Plan, TensorMap
from ir.text import read as read_graph
from passes.context import Precision
from tests.emulated import why_not
from tests.models import SMALL

ARCHES = ("sm_80", "sm_90a")
TWO, ONE = ("cuda:0", "cuda:0"), ("cuda:0",)
MOST_SHARED = 48 * 1024
MOST_REGISTERS = 255


pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.full,
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Models have kernels in common."""
    return Cache(tmp_path_factory.mktemp("cache") / "kernels")


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("binding", [TWO, ONE], ids=["two", "one"])
def test_kernels_of_every_model(
    tmp_path: Path, cache: Cache, model: str, binding: tuple[str, ...]
) -> None:
    assembled = assemble(SMALL[model](), Options(binding, cuda(ARCHES), cache=cache))
    publish(assembled.plan, tmp_path / "plan.json", assembled.files)
    check(assembled.plan, tmp_path / "plan.json", "forward")


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_kernels_of_every_precision(
    tmp_path: Path, cache: Cache, precision: Precision, arch: str
) -> None:
    """On tensor cores; full blocks of images, and maps enough for boxes of them."""
    network = alexnet(32, width=0.34, image=64, classes=10)
    options = Options(TWO, cuda((arch,)), cache=cache, precision=precision)
    assembled = assemble(network, options)
    publish(assembled.plan, tmp_path / "plan.json", assembled.files)
    check(assembled.plan, tmp_path / "plan.json", "backward")
    assert any(map(has_maps, assembled.plan.kernels.values())) == (arch == "sm_90a")


def has_maps(kernel: Kernel) -> bool:
    """Whether a launch copies boxes of its arguments."""
    return any(
        isinstance(given, TensorMap) for each in launches(kernel) for given in each.arguments
    )


def launches(kernel: Kernel) -> list[Launch]:
    """Those of all architectures."""
    assert isinstance(kernel.code, Cubins)
    return [each for cubin in kernel.code.binaries.values() for each in cubin.launches]


def check(plan: Plan, path: Path, order: Order) -> None:
    """Inspect the kernels of a plan, and compare every step with the oracle."""
    folder = plans.folder(path)
    for key, kernel in plan.kernels.items():
        inspect(kernel, folder, key)
    with EmulatedExecutor(plan, folder, order) as executor:
        for name in plan.programs:
            graph = read_graph(str(folder / f"{name}.ir"))
            assert list(validate.validate(executor, name, graph, seed=1))


def inspect(kernel: Kernel, folder: Path, key: str) -> None:
    """Fail unless there is machine code for each architecture, within a GPU's limits."""
    assert isinstance(kernel.code, Cubins), key
    for cubin in kernel.code.binaries.values():
        symbols = {launch.symbol for launch in cubin.launches}
        assert symbols == set(functions((folder / source(cubin)).read_text())), key
        binary = (folder / cubin.file).read_bytes()
        assert binary.startswith(b"\x7fELF"), cubin.file
        assert all(f".text.{symbol}\0".encode() in binary for symbol in symbols), cubin.file
    for launch in launches(kernel):
        threads = launch.block[0] * launch.block[1] * launch.block[2]
        assert threads % 32 == 0, f"{key}: a warp is not full"
        assert launch.shared <= MOST_SHARED, key
        assert 0 < launch.registers <= MOST_REGISTERS, key
        assert launch.registers * threads <= 65536, f"{key}: no block fits on a processor"
