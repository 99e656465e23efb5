"""One training step, ours beside other frameworks': `python -m benchmarks.step`.

Every contestant is a process of its own; they take turns, step by step, so that a noisy moment
hits all of them. Memory has room for some at a time only: they come in legs, and our own default
step runs in each as the measure. Peers have the same layers, batch and update; they get float
images that are cropped already, where our step starts from stored bytes. PyTorch keeps freed memory
with tuned malloc, which is the fair comparison, and gives it back by default. Prints medians,
minima and ratios, and writes all seconds as JSON.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks import contestants
from benchmarks.commands import build
from benchmarks.contest import Contestant, compete
from benchmarks.contestants import OURS, Entry
from benchmarks.networks import NETS
from benchmarks.peak import Ceilings, measured
from benchmarks.report import Facts, machine, table, write
from benchmarks.work import operations
from ir.command import run
from ir.plan import folder
from ir.text import read

HEADER = ("seconds per step", "median", "least", "images/s", "GFLOP/s", "of peak", "ratio")


def main() -> None:
    """Measure whole training steps, print the table."""
    options = _options()
    about, ceilings = machine(), measured(options.threads)
    wanted = [entry for entry in _entries(options.net) if re.search(options.only, entry.name)]
    lacking = [entry.name for entry in wanted if not entry.installed]
    present = [entry for entry in wanted if entry.installed]
    with tempfile.TemporaryDirectory() as place:
        plans = _Plans(Path(place), options)
        rows: list[Facts] = []
        failed: dict[str, str] = {}
        for number, leg in enumerate(_legs(plans.measure, present, options.together)):
            running = [entry.started(options, plans.of(entry)) for entry in leg]
            warm, limit = options.warm, options.limit
            failed |= compete(running, options.rounds, warm=warm, limit=limit)
            rows += _rows(running, number, options.batch)
        flops = plans.operations()
    failed |= dict.fromkeys(lacking, "not installed")
    _print(rows, failed, flops, ceilings)
    facts = {"net": options.net, "batch": options.batch, "threads": options.threads}
    limits = {"flops": ceilings.flops, "bytes": ceilings.bytes}
    figures = {"operations": flops, "ceilings": limits, "rows": rows, "failed": failed}
    write(f"step-{options.net}-{options.batch}", about, **facts, **figures)


def _entries(net: str) -> list[Entry]:
    return [*contestants.ours(net), *contestants.peers(net)]


def _legs(measure: Entry, entries: Sequence[Entry], together: int) -> Iterator[list[Entry]]:
    """Those that take turns with each other; the measure is in all."""
    others = [entry for entry in entries if entry.name != measure.name]
    for first in range(0, max(1, len(others)), together):
        yield [measure, *others[first : first + together]]


class _Plans:
    """Our plans, each built when it is first needed, by the commands that a user types."""

    def __init__(self, place: Path, options: argparse.Namespace) -> None:
        self._place, self._options = place, options
        self._built: dict[tuple[object, ...], Path] = {}
        self.measure = next(contestants.ours(options.net))

    def of(self, entry: Entry) -> Path | None:
        """The plan of a contestant of ours."""
        if entry.package != "tvm":
            return None
        key = entry.lrn, entry.build
        if key not in self._built:
            self._built[key] = self._build(entry, self._place / str(len(self._built)))
        return self._built[key]

    def operations(self) -> float:
        """Of a step with all its layers, by definition, not counting what meets padding."""
        path = self.of(self.measure)
        assert path is not None
        return sum(operations(node) for node in read(str(folder(path) / "train.ir")).nodes)

    def _build(self, entry: Entry, place: Path) -> Path:
        switch = [] if entry.lrn else ["--no-lrn"]
        batch = ["--batch", str(self._options.batch)]
        model = [f"frontend.{self._options.net}", *batch, *switch]
        return build(model, place / "plan.json", *entry.build)


# ---------------------------------------------------------------------------- results


def _rows(leg: Sequence[Contestant], number: int, batch: int) -> list[Facts]:
    """The figures of those that were not out; ratios are to our own step in the same leg."""
    ready = [each for each in leg if each.seconds]
    measure = next((median(each.seconds) for each in ready if each.name == OURS), float("nan"))
    return [
        {
            "name": each.name,
            "leg": number,
            "seconds": each.seconds,
            "median": median(each.seconds),
            "least": min(each.seconds),
            "images_per_second": batch / median(each.seconds),
            "ratio": median(each.seconds) / measure,
        }
        for each in ready
    ]


def _print(rows: Sequence[Facts], failed: dict[str, str], flops: float, ceilings: Ceilings) -> None:
    lines = []
    for row in rows:
        middle, least, images, ratio = (
            float(str(row[key])) for key in ("median", "least", "images_per_second", "ratio")
        )
        speed, share = flops / middle / 1e9, flops / middle / ceilings.flops
        cells = f"{middle:.3f} {least:.3f} {images:.1f} {speed:.0f} {share:.0%} {ratio:.2f}"
        lines.append([str(row["name"]), *cells.split()])
    print(table(HEADER, lines))
    for name, reason in failed.items():
        print(f"{name}: {reason}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=main.__doc__)
    add, cores = parser.add_argument, len(os.sched_getaffinity(0))
    nets = [net for net in NETS if net != "cifar"]  # its layers have no peers
    add("--net", choices=nets, default="alexnet", help="(default alexnet)")
    add("--batch", type=int, default=128, help="images per step (default 128)")
    add("--threads", type=int, default=cores, help="of each contestant (default all cores)")
    add("--rounds", type=int, default=7, help="steps of each contestant (default 7)")
    add("--warm", type=int, default=2, help="steps before that (default 2)")
    add("--only", default="", metavar="REGEX", help="contestants whose names match (default all)")
    add("--together", type=int, default=4, help="contestants in memory beside ours (default 4)")
    add("--limit", type=float, default=300, help="seconds of a step, or it is out (default 300)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
