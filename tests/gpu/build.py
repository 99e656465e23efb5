"""Build all that the tests and the benchmark run on a GPU: `python -m tests.gpu.build FOLDER`.

Needs no GPU where `--arch` says what to build for. What is built before comes from the cache.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from codegen.devices import target
from codegen.tuning.cuda import ceiling_kernels
from ir.command import Error, run
from tests.gpu import cases
from tests.torch_twin import FULL_SIZE

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Target

ONE, TWO = "cuda:0", "cuda:0,cuda:0"
SMALL = "--width 0.125 --image 64 --classes 10"
LITTLE, PEER = f"alexnet --batch 33 {SMALL}", f"alexnet {' '.join(FULL_SIZE)}"

PRECISIONS = ("fp32", "tf32", "bf16")
PLANS: dict[str, tuple[str, str]] = {
    "fp32-128": ("alexnet --batch 128", ONE),
    "fp32-128-two": ("alexnet --batch 128", TWO),
    "fp32-1024": ("alexnet --batch 1024", ONE),
    "tf32-128": ("alexnet --batch 128", f"{ONE} --precision tf32"),
    "tf32-1024": ("alexnet --batch 1024", f"{ONE} --precision tf32"),
    "bf16-128": ("alexnet --batch 128", f"{ONE} --precision bf16"),
    "bf16-128-two": ("alexnet --batch 128", f"{TWO} --precision bf16"),
    "bf16-1024": ("alexnet --batch 1024", f"{ONE} --precision bf16"),
    **{f"peer-{p}": (PEER, f"{TWO} --precision {p}") for p in PRECISIONS},
    **{f"small-{p}": (LITTLE, f"{TWO} --precision {p}") for p in PRECISIONS},
    "accumulate": (f"alexnet --batch 20 {SMALL}", f"{TWO} --accumulate 2"),
    "accumulate-bf16": (f"alexnet --batch 20 {SMALL}", f"{TWO} --accumulate 2 --precision bf16"),
    "code145": (f"alexnet --batch 2 --preset code145 {SMALL}", ONE),
    "towers": (f"alexnet --batch 64 --towers 4 {SMALL}", TWO),
    "plain": (f"alexnet --batch 3 --no-lrn --pool 2/2 --activation tanh {SMALL}", ONE),
    "13pct": ("cifar --batch 35 --net 13pct", ONE),
    "11pct": ("cifar --batch 2 --net 11pct --image 24", TWO),
    "18pct": ("cifar --batch 32 --net 18pct --activation tanh", ONE),
    "18pct-bf16": ("cifar --batch 32 --net 18pct --activation tanh", f"{ONE} --precision bf16"),
    "oneweirdtrick": (f"oneweirdtrick --batch 4 {SMALL}", ONE),
    "vgg": ("vgg --batch 4 --width 0.125 --image 32 --classes 10", TWO),
}
"""By name: the network's command, the build's devices and options."""
BY_WARPS = {f"small-{p}-warps": PLANS[f"small-{p}"] for p in PRECISIONS[1:]}
"""Built for sm_90 where others multiply by groups of warps, so that an sm_90a runs both."""
CASES_BY_WARPS = f"{cases.PLAN}-warps"


def main() -> None:
    """Build the plans of the GPU tests, one folder each."""
    options = _options()
    here = target("cuda", arch=options.arch, mcpu="", winograd="none")
    for name in options.only or list(_names(here)):
        start = time.perf_counter()
        _build(name, Path(options.folder) / name / "plan.json", here)
        print(f"{name:16} {time.perf_counter() - start:6.1f} s", flush=True)


def _names(here: "Target") -> Iterator[str]:
    """All that there is for some architectures."""
    yield from (*PLANS, cases.PLAN, ceiling_kernels.PLAN)
    if here.facts()["arch"] == "sm_90a":
        yield from (*BY_WARPS, CASES_BY_WARPS)


def _build(name: str, path: Path, here: "Target") -> None:
    if name == ceiling_kernels.PLAN:
        ceiling_kernels.build(path, here)
    elif name == cases.PLAN:
        cases.build(path, here, cases.cases())
    elif name == CASES_BY_WARPS:
        warps = target("cuda", arch="sm_90", mcpu="", winograd="none")
        cases.build(path, warps, cases.on_tensor_cores())
    else:
        arch = "sm_90" if name in BY_WARPS else here.facts()["arch"]
        _build_plan(*{**PLANS, **BY_WARPS}[name], path, arch)


def _build_plan(network: str, devices: str, path: Path, arch: str) -> None:
    model, *options = network.split()
    made = subprocess.run(
        [sys.executable, "-m", f"frontend.{model}", *options], stdout=subprocess.PIPE, check=False
    )
    command = [sys.executable, "-m", "codegen.build", "--devices", *devices.split()]
    built = subprocess.run(
        [*command, "--arch", arch, "-o", str(path)],
        input=made.stdout,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if made.returncode or built.returncode:
        raise Error(f"{path}: was not built, the message stands above")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.build", description=main.__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="where the plans go")
    parser.add_argument(
        "--arch", metavar="NAMES", help="such as sm_80,sm_90a (default: those here)"
    )
    every = (*PLANS, cases.PLAN, ceiling_kernels.PLAN, *BY_WARPS, CASES_BY_WARPS)
    parser.add_argument("--only", nargs="+", choices=every, help="some of them (default all)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
