"""How fast every kernel of a training step is: `python -m benchmarks.kernels`.

Kernels run one by one, everything that is fused into them included, and take turns with PyTorch's
ops where it is installed: the contraction alone where there is one, else those of the region that
PyTorch has. GFLOP/s are nominal, taps on padding included. `bound` is what takes longer at the
measured ceilings: the operations that meet a pixel, or the bytes of all arguments; minimal
filtering does fewer operations and may pass the first. `predicted` is what builds here predict.
Writes a table as JSON, too.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from benchmarks.contest import Turn
from benchmarks.networks import NETS, network
from benchmarks.peak import Ceilings, measured
from benchmarks.peer_ops import covered, peer
from benchmarks.report import Facts, machine, table, write
from benchmarks.work import moved, nominal, operations
from codegen.cost.speeds import guess
from codegen.devices import add_accuracy
from codegen.layout import layout_of
from codegen.programs import lower
from codegen.steps import Call, steps
from codegen.targets import cpu
from codegen.tuning import records
from codegen.tuning.timing import Bench, Timed, best, pool
from ir.command import run
from ir.graph import Graph, Node
from ir.plan.prediction import seconds as seconds_of
from passes.context import Context

HEADER = (
    *("kernel", "calls", "ms", "predicted", "of all", "GFLOP/s", "GB/s", "bound", "of bound"),
    "PyTorch, ms",
)


def main() -> None:
    """Time the kernels of a training step one by one."""
    options = _options()
    about, torch = machine(), _torch(options.threads)
    ceilings, builder = measured(options.threads), _Builder(options.winograd, options.threads)
    parts = Counter(_regions(network(options.net, options.batch), options.devices))
    rows = []
    for region, calls in parts.items():
        if _nodes(region)[0].op.startswith(options.only):
            rows.append({"calls": calls, **_measured(region, torch, ceilings, builder, options)})
            print(f"{len(rows)}: {rows[-1]['kernel']}", file=sys.stderr)
    rows.sort(key=lambda row: -_total(row))
    print(table(HEADER, [_line(row, sum(map(_total, rows))) for row in rows]))
    print(f"{len(rows)} kernels, {sum(map(_total, rows)):.1f} ms for all their calls")
    print(_errors(rows))
    name = f"kernels-{options.net}-{options.batch}-{options.winograd}"
    limits = {"flops": ceilings.flops, "bytes": ceilings.bytes}
    write(name, about, options=vars(options), ceilings=limits, rows=rows)


def _measured(
    region: Graph,
    torch: Any,
    ceilings: Ceilings,
    builder: "_Builder",
    options: argparse.Namespace,
) -> Facts:
    """Of one call; our own seconds are the least of some, and so are PyTorch's."""
    theirs, ours = covered(_nodes(region)) if torch else [], builder.kernel(region)
    turns: list[Turn] = [ours.call]
    turns += [peer(torch, theirs)] if theirs else []
    seconds = best(turns, options.repeat, options.threads)
    flops, size = sum(map(operations, region.nodes)), moved(region)
    arithmetic = flops / ceilings.flops > size / ceilings.bytes
    return {
        "kernel": title(region),
        "ms": 1e3 * seconds[0],
        "predicted": 1e3 * builder.predicted(ours),
        "gflops": nominal(region) / seconds[0] / 1e9,
        "gbytes": size / seconds[0] / 1e9,
        "bound": "FMA" if arithmetic else "memory",
        "of_bound": ceilings.least(flops, size) / seconds[0],
        "peer": [node.op for node in theirs],
        "peer_ms": 1e3 * seconds[1] if theirs else None,
    }


# ---------------------------------------------------------------------------- kernels


def regions(batch: int, only: str = "", net: str = "alexnet", devices: int = 2) -> Iterator[Graph]:
    """The different regions of a training step whose first op begins so."""
    for region in dict.fromkeys(_regions(network(net, batch), devices)):
        if _nodes(region)[0].op.startswith(only):
            yield region


class _Builder:
    """Makes kernels as builds on this machine do, with the sizes that were measured on it."""

    def __init__(self, winograd: str, threads: int) -> None:
        self._target, speeds = records.measured(cpu(winograd=winograd))
        self._speeds, self._threads = speeds or guess(self._target), threads

    def kernel(self, region: Graph) -> Timed:
        """A region's kernel on random numbers, ready to be called."""
        return Bench(region, self._target, self._threads).kernel(self._target)

    def predicted(self, kernel: Timed) -> float:
        """Seconds that a build predicts for it."""
        return seconds_of(kernel.work, kernel.moved, self._speeds) / self._threads


def _regions(graph: Graph, devices: int) -> Iterator[Graph]:
    """The regions of all calls of a training step."""
    layout = layout_of("cpu")
    lowered = lower(graph, Context(devices), layout, lambda name: lambda *pass_: None)
    for step in steps(lowered.programs["train"], layout):
        if isinstance(step, Call):
            yield step.region.graph


def _nodes(region: Graph) -> list[Node]:
    return [node for node in region.nodes if node.inputs]


def title(region: Graph) -> str:
    """Its ops, and the shapes of what the first reads."""
    nodes = _nodes(region)
    shapes = " ".join("x".join(map(str, x.type.shape)) for x in nodes[0].inputs if x.type.shape)
    return f"{'+'.join(node.op for node in nodes)} {shapes}"


# ---------------------------------------------------------------------------- command


def _torch(threads: int) -> Any:
    """PyTorch where it is installed."""
    pool(threads)
    try:
        import torch
    except ModuleNotFoundError:
        print("PyTorch is not installed: make test-torch installs it", file=sys.stderr)
        return None
    torch.set_num_threads(threads)
    return torch


def _errors(rows: Sequence[Facts]) -> str:
    """How far predictions are from what was measured."""
    apart = [abs(_number(row, "predicted") / _number(row, "ms") - 1) for row in rows]
    predicted = sum(_number(row, "calls") * _number(row, "predicted") for row in rows)
    error = predicted / sum(map(_total, rows)) - 1
    off = f"{median(apart):.0%} off for the median kernel"
    return f"predicted: {predicted:.1f} ms ({error:+.0%}), {off}"


def _total(row: Facts) -> float:
    """Milliseconds of all calls."""
    return _number(row, "calls") * _number(row, "ms")


def _number(row: Facts, name: str) -> float:
    return float(str(row[name]))


def _line(row: Facts, total: float) -> list[str]:
    theirs = "" if row["peer_ms"] is None else f"{row['peer_ms']:.2f}"
    return [
        *(str(row["kernel"]), str(row["calls"]), f"{row['ms']:.2f}", f"{row['predicted']:.2f}"),
        f"{_total(row) / total:.1%}",
        *(f"{row['gflops']:.0f}", f"{row['gbytes']:.1f}", str(row["bound"])),
        *(f"{row['of_bound']:.0%}", theirs),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=main.__doc__)
    add, cores = parser.add_argument, len(os.sched_getaffinity(0))
    add("--net", choices=NETS, default="alexnet", help="(default alexnet)")
    add("--batch", type=int, default=128, help="images (default 128)")
    add("--devices", type=int, default=1, help="that the net is cut for (default 1)")
    add("--repeat", type=int, default=5, help="runs of each kernel (default 5)")
    add("--threads", type=int, default=cores, help="(default all cores)")
    add("--only", default="", metavar="OP", help="kernels that begin so, such as conv_dw")
    add_accuracy(parser)
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
