"""Build all that the tests and the benchmark run on a GPU: `python -m tests.gpu.build FOLDER`.

Needs no GPU where `--arch` says what to build for. What is built before comes from the cache.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import gpu_ceilings
from codegen.devices import target
from ir.command import Error, run
from tests.gpu import cases
from tests.torch_twin import FULL_SIZE

ONE, TWO = "cuda:0", "cuda:0,cuda:0"
SMALL = "--width 0.125 --image 64 --classes 10"

PLANS: dict[str, tuple[str, str]] = {
    "full-one": ("alexnet --batch 128", ONE),
    "full-two": ("alexnet --batch 128", TWO),
    "peer": (f"alexnet {' '.join(FULL_SIZE)}", TWO),
    "small": (f"alexnet --batch 33 {SMALL}", TWO),
    "accumulate": (f"alexnet --batch 20 {SMALL}", f"{TWO} --accumulate 2"),
    "code145": (f"alexnet --batch 2 --preset code145 {SMALL}", ONE),
    "towers": (f"alexnet --batch 64 --towers 4 {SMALL}", TWO),
    "plain": (f"alexnet --batch 3 --no-lrn --pool 2/2 --activation tanh {SMALL}", ONE),
    "13pct": ("cifar --batch 35 --net 13pct", ONE),
    "11pct": ("cifar --batch 2 --net 11pct --image 24", TWO),
    "18pct": ("cifar --batch 32 --net 18pct --activation tanh", ONE),
    "oneweirdtrick": (f"oneweirdtrick --batch 4 {SMALL}", ONE),
    "vgg": ("vgg --batch 4 --width 0.125 --image 32 --classes 10", TWO),
}
"""By name: the network's command, the build's devices and options."""


def main() -> None:
    """Build the plans of the GPU tests, one folder each."""
    options = _options()
    arch = ("--arch", options.arch) if options.arch else ()
    names = options.only or [*PLANS, cases.PLAN, gpu_ceilings.PLAN]
    for name in names:
        start = time.perf_counter()
        path = Path(options.folder) / name / "plan.json"
        if name in PLANS:
            _build(*PLANS[name], path, arch)
        else:
            builder = {cases.PLAN: cases.build, gpu_ceilings.PLAN: gpu_ceilings.build}[name]
            builder(path, target("cuda", arch=options.arch, mcpu="", winograd="none"))
        print(f"{name:14} {time.perf_counter() - start:6.1f} s", flush=True)


def _build(network: str, devices: str, path: Path, arch: tuple[str, ...]) -> None:
    model, *options = network.split()
    made = subprocess.run(
        [sys.executable, "-m", f"frontend.{model}", *options], stdout=subprocess.PIPE, check=False
    )
    command = [sys.executable, "-m", "codegen.build", "--devices", *devices.split(), *arch]
    built = subprocess.run(
        [*command, "-o", str(path)], input=made.stdout, stdout=subprocess.DEVNULL, check=False
    )
    if made.returncode or built.returncode:
        raise Error(f"{path}: was not built, the message stands above")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.build", description=main.__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="where the plans go")
    parser.add_argument(
        "--arch", metavar="NAMES", help="such as sm_80,sm_90a (default: those here)"
    )
    every = (*PLANS, cases.PLAN, gpu_ceilings.PLAN)
    parser.add_argument("--only", nargs="+", choices=every, help="some of them (default all)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
