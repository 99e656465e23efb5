"""How long the passes take as a network grows: `python -m benchmarks.passes`.

Prints seconds for every pass on AlexNet and on generated residual networks, and the growth of the
whole pipeline from one size to the next: 1 would be linear, 2 quadratic. Writes the table as JSON
beside the other results.
"""

import argparse
import sys
import time
from itertools import pairwise
from math import log
from statistics import median

from benchmarks.report import machine, write
from frontend.alexnet import alexnet
from ir.command import run
from ir.graph import Graph
from passes.context import Context
from passes.pipeline import TRAIN, run_passes
from tests.graphs import big_network

SIZES = (1_250, 2_500, 5_000, 10_000)


def seconds_per_pass(graph: Graph, devices: int = 2) -> dict[str, float]:
    """Seconds that each pass takes, its verification included."""
    spent: dict[str, float] = {}

    def watch(number: int, name: str, after: Graph, seconds: float) -> None:
        spent[name] = seconds

    begin = time.perf_counter()
    run_passes(graph, TRAIN, Context(devices), watch)
    spent["all"] = time.perf_counter() - begin
    return spent


def measure(graph: Graph, repeat: int) -> dict[str, float]:
    """The median of several runs, pass by pass."""
    runs = [seconds_per_pass(graph) for _ in range(repeat)]
    return {name: median(each[name] for each in runs) for name in runs[0]}


def main() -> None:
    """Measure, print a table, write the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passes", description=main.__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each size (default 3)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="nodes")
    options = parser.parse_args()
    about = machine()
    networks = [("AlexNet", alexnet())] + [(f"{n:,}", big_network(n)) for n in options.sizes]
    print(f"{'network':>10} {'nodes':>7} " + " ".join(f"{name:>9}" for name in (*TRAIN, "all")))
    rows: list[dict[str, object]] = []
    for name, graph in networks:
        spent = measure(graph, options.repeat)
        rows.append({"network": name, "nodes": len(graph.nodes), "seconds": spent})
        print(f"{name:>10} {len(graph.nodes):7,} " + " ".join(f"{s:9.3f}" for s in spent.values()))
        sys.stdout.flush()
    for small, large in pairwise(rows[1:]):
        growth = _growth(small, large)
        print(f"from {small['network']} to {large['network']} nodes: power {growth:.2f}")
    write("passes", about, rows=rows)


def _growth(small: dict[str, object], large: dict[str, object]) -> float:
    """The power p with seconds ~ nodes^p between two sizes."""
    a, b = small["seconds"], large["seconds"]
    assert isinstance(a, dict)
    assert isinstance(b, dict)
    nodes = int(str(large["nodes"])) / int(str(small["nodes"]))
    return log(b["all"] / a["all"]) / log(nodes)


if __name__ == "__main__":
    run(main)
