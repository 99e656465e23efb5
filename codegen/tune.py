"""Measure this machine: `python -m codegen.tune plan.json`.

Tries sizes for the kernels of a plan, or of a network as IR text, by timing them, and keeps the
best beside the compiled kernels, from where every build takes them. Then it fits what instructions
take, for predictions. Without a file it only measures the machine's ceilings, in a few seconds.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from codegen.cache import default_folder
from codegen.devices import add_accuracy
from codegen.programs import lower, require_precision
from codegen.steps import Call, steps
from codegen.targets import Cpu, cpu
from codegen.tuning import records, timing
from codegen.tuning.ceilings import ceilings
from codegen.tuning.fit import KINDS, Sample, fitted
from codegen.tuning.parameters import Tuning, shape_class
from codegen.tuning.records import Records
from codegen.tuning.search import Found, Search
from ir import plan as plans
from ir.command import Error, run
from ir.graph import Graph
from ir.plan import Speeds
from ir.text import parse, read
from passes.context import Context, positive, to_stderr
from passes.dump import quiet


def main() -> None:
    """Measure which sizes suit this machine's kernels, and how fast it is; keep it as JSON."""
    options = _options(main.__doc__)
    timing.pool(options.threads)
    target = cpu(winograd=options.winograd)
    path = options.out or default_folder() / records.file_name(target)
    speeds = ceilings(target, options.threads)
    if options.file is not None:
        found = [_tuned(each, target, options, path) for each in regions(options, target)]
        speeds = _fitted(found, speeds, options.threads)
    _keep(path, Records(speeds))
    print(f"{'one core':12} {_rates(speeds)}")
    print(f"{'kept in':12} {path}")


# ------------------------------------------------------------------------------- sizes


def regions(options: argparse.Namespace, target: Cpu) -> list[Graph]:
    """The different regions of a plan, or of a network's programs. Raises Error."""
    if options.file == "-" or Path(options.file).suffix == ".ir":
        found = _lowered(read(options.file), target, options.devices)
    else:
        found = _planned(Path(options.file))
    classes = {shape_class(region, target.winograd) or region: region for region in found}
    return [each for each in classes.values() if _first(each).startswith(options.only)]


def _lowered(network: Graph, target: Cpu, devices: int) -> Iterator[Graph]:
    context = Context(devices, say=to_stderr)
    require_precision(network, target)
    programs = lower(network, context, target.layout, lambda name: quiet).programs
    for graph in programs.values():
        calls = (step for step in steps(graph, target.layout) if isinstance(step, Call))
        yield from (call.region.graph for call in calls)


def _planned(path: Path) -> Iterator[Graph]:
    path = path / "plan.json" if path.is_dir() else path
    for name in plans.read(path).kernels:
        text = plans.folder(path) / "kernels" / f"{name}.ir"
        try:
            yield parse(text.read_text("utf-8"))
        except OSError as error:
            raise Error(f"{text}: cannot be read: {error.strerror}") from error


def _first(region: Graph) -> str:
    return next(node.op for node in region.nodes if node.inputs)


def _tuned(region: Graph, target: Cpu, options: argparse.Namespace, path: Path) -> Found:
    """Tune one region. What was found is kept at once, so that a stop loses little."""
    found = Search(region, target, options.repeat, options.threads).run()
    if name := shape_class(region, target.winograd):
        _keep(path, Records(tunings={name: found.tuning}))
    chosen = _chosen(target.tuning, found.tuning) if name else "nothing to choose"
    gain = f"{1e3 * found.before:8.2f} -> {1e3 * found.seconds:8.2f} ms"
    print(f"{_first(region):20} {gain}  {chosen}", flush=True)
    return found


def _chosen(before: Tuning, after: Tuning) -> str:
    """The fields that differ."""
    fields = [field for field in vars(after) if getattr(before, field) != getattr(after, field)]
    return ", ".join(f"{field}={getattr(after, field)}" for field in fields) or "as by formula"


def _keep(path: Path, found: Records) -> None:
    records.keep(path, records.read(path) | found)


# ------------------------------------------------------------------------------- speeds


def _fitted(found: Sequence[Found], start: Speeds, threads: int) -> Speeds:
    """Speeds that explain what was measured; ceilings alone where that is too little."""
    samples = [Sample(each.work, each.moved, each.seconds * threads) for each in found]
    speeds = fitted(samples, start)
    errors = [sample.error(speeds) for sample in samples]
    if errors:
        print(f"{'fitted to':12} {len(errors)} kernels, median error {median(errors):.1%}")
    return speeds


def _rates(speeds: Speeds) -> str:
    """Nanoseconds by kind of instruction, and bytes per second."""
    costs = ", ".join(f"{getattr(speeds, kind):g} {kind.replace('_', '-')}" for kind in KINDS)
    near, far = speeds.near / 1e9, speeds.far / 1e9
    return f"ns for {costs}; {near:.0f} GB/s from caches, {far:.0f} from memory"


def _options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m codegen.tune", description=description)
    add, cores = parser.add_argument, len(os.sched_getaffinity(0))
    add("file", nargs="?", help="a plan, or IR text as FILE.ir or - (default: ceilings only)")
    add("--devices", type=positive, default=2, metavar="N", help="that IR text is split for (2)")
    add("--only", default="", metavar="OP", help="regions that begin so, such as conv_dw")
    add_accuracy(parser)
    add("--repeat", type=positive, default=5, metavar="N", help="calls of each kernel (5)")
    add("--threads", type=positive, default=cores, metavar="N", help="default: one per core")
    add("-o", dest="out", type=Path, metavar="FILE", help="instead of the user's own record")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
