"""Measure this machine: `python -m codegen.tune plan.json`.

Tries sizes for the kernels of a plan, or of a network as IR text, by timing them, and keeps the
best beside the compiled kernels, from where every build takes them. Then it fits what instructions
take, for predictions. Without a file it only measures the machine's ceilings, in a few seconds.
A plan for GPUs is tuned on this machine's GPU, others on its cores.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from codegen import devices
from codegen.cache import default_folder
from codegen.tuning import records
from codegen.tuning.cores import Cores
from codegen.tuning.cuda.card import Card
from codegen.tuning.machine import Machine
from codegen.tuning.records import Records
from codegen.tuning.regions import first_op, is_network, lowered, plan_at, planned
from ir import plan as plans
from ir.command import Error, run
from ir.graph import Graph
from passes.context import PRECISIONS, positive


def main() -> None:
    """Measure which sizes suit this machine's kernels, and how fast it is; keep it as JSON."""
    options = _options(main.__doc__)
    machine = MACHINES[_kind(options)](options)
    (name,) = machine.target.machines
    path = options.out or records.file_of(default_folder(), name)
    speeds = machine.ceilings()
    if options.file is not None:
        for region in regions(options, machine):
            _tune(region, machine, path)
        speeds = machine.fitted(speeds)
    _keep(path, Records(speeds))
    print(f"{f'one {speeds.unit}':12} {machine.rates(speeds)}")
    print(f"{'kept in':12} {path}")


def regions(options: argparse.Namespace, machine: Machine) -> list[Graph]:
    """The different regions of a plan, or of a network's programs. Raises Error."""
    found: Iterator[Graph]
    if is_network(options.file):
        found = lowered(options.file, machine.target, options.devices, options.precision)
    else:
        found = planned(plan_at(options.file))
    classes = {machine.class_of(region) or region: region for region in found}
    return [each for each in classes.values() if first_op(each).startswith(options.only)]


def _tune(region: Graph, machine: Machine, path: Path) -> None:
    """Tune one region. What was found is kept at once, so that a stop loses little."""
    tuned = machine.tuned(region)
    if tuned is None:
        return
    _keep(path, tuned.found)
    gain = f"{1e3 * tuned.before:8.3f} -> {1e3 * tuned.seconds:8.3f} ms"
    print(f"{first_op(region):20} {gain}  {tuned.chosen}", flush=True)


def _keep(path: Path, found: Records) -> None:
    records.keep(path, records.read(path) | found)


# ------------------------------------------------------------------------------- machines


def _cores(options: argparse.Namespace) -> Cores:
    target = devices.cpu_target(options.arch, "", options.winograd)
    return Cores(target, options.threads, options.repeat)


def _card(options: argparse.Namespace) -> Card:
    """Raises Error without a GPU, and for several architectures."""
    gpu = devices.first_gpu()
    target = devices.cuda_target(options.arch or gpu.arch, options.winograd)
    if len(target.arches) > 1:
        raise Error(f"--arch: {options.arch} are several; expected the one of {gpu.name}")
    return Card(target, gpu)


MACHINES: dict[str, Callable[[argparse.Namespace], Machine]] = {"cpu": _cores, "cuda": _card}
"""By kind of device."""


def _kind(options: argparse.Namespace) -> str:
    """Asked for; else what the plan is for; else what a build takes here."""
    if options.kind or options.arch:
        return options.kind or "cuda"
    if options.file is None or is_network(options.file):
        return devices.kind_here()
    return plans.read(plan_at(options.file)).target["kind"]


def _options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m codegen.tune", description=description)
    add, cores = parser.add_argument, len(os.sched_getaffinity(0))
    add("file", nargs="?", help="a plan, or IR text as FILE.ir or - (default: ceilings only)")
    add("--kind", choices=MACHINES, help="what to measure (default: the plan's, else a GPU if any)")
    add("--arch", metavar="NAME", help="of the GPU, such as sm_90a (default: its own)")
    add("--devices", type=positive, default=2, metavar="N", help="that IR text is split for (2)")
    add("--precision", choices=PRECISIONS, default="fp32", help="of IR text (default fp32)")
    add("--only", default="", metavar="OP", help="regions that begin so, such as conv_dw")
    devices.add_accuracy(parser)
    add("--repeat", type=positive, default=5, metavar="N", help="calls of each CPU kernel (5)")
    add("--threads", type=positive, default=cores, metavar="N", help="default: one per core")
    add("-o", dest="out", type=Path, metavar="FILE", help="instead of the user's own record")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
