"""What minimal filtering costs in accuracy and gains in speed: `python -m benchmarks.errors`.

Each convolution of a network, its data gradient and its weight gradient run directly and with tiles
of every size F(m x n, r x s): m x n results of r x s taps at a time, those that --winograd mild and
fast choose among them. Tiles are chosen by their growth, a forecast of errors. Errors
are those of one run on normal random numbers against the oracle in float64: the largest, relative
to the largest result, and the root of the mean square, relative to that of the results. Kernels of
one convolution take turns. Writes a table as JSON, too.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.kernels import regions
from benchmarks.networks import NETS
from benchmarks.report import Facts, machine, table, write
from benchmarks.work import nominal
from codegen.kernels import build
from codegen.kernels.cpu.winograd import conv, gradient
from codegen.kernels.cpu.winograd.choice import candidates, phases
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.winograd.tiles import growth
from codegen.targets import cpu
from codegen.tuning.timing import Bench, best, pool
from ir.command import run
from ir.eval import run_graph
from ir.graph import Graph, Node
from ir.op import Array
from ir.ops import apply

DIRECTIONS = ("conv", "conv_dx", "conv_dw")
ALLOWED = {"conv": 2e-5, "conv_dx": 2e-5, "conv_dw": 1e-4}
"""The largest error that the default may make."""
DIRECT = "direct"
HEADER = (
    *("kernel", "growth", "largest error", "allowed", "rms error"),
    *("ms", "GFLOP/s", "speed", "chosen by"),
)


def main() -> None:
    """Measure errors and times of all tiles, print the table."""
    options = _options()
    about, rows = machine(), []
    pool(options.threads)
    for region in convolutions(options.net, options.batch, options.only):
        rows += _measured(region, options)
        print(f"{len(rows)}: {_title(region)}", file=sys.stderr)
    print(table(HEADER, list(map(_line, rows))))
    name = f"errors-{options.net}-{options.batch}"
    write(name, about, options=vars(options), rows=rows)


def convolutions(net: str, batch: int, only: str = "") -> Iterator[Graph]:
    """The different convolutions of a training step and their gradients, as regions of one op."""
    found: dict[str, Graph] = {}
    for region in regions(batch, only, net, devices=1):
        node = next(node for node in region.nodes if node.inputs)
        if node.op in DIRECTIONS:
            alone = _alone(node)
            found.setdefault(_title(alone), alone)
    yield from found.values()


def _alone(node: Node) -> Graph:
    leaves = [
        apply("input", name=f"a{number}", type=x.type) for number, x in enumerate(node.inputs)
    ]
    result = apply(node.op, *leaves, name="v0", type=None, **node.attrs)
    return Graph("region", (*leaves, result), (result,))


# ---------------------------------------------------------------------------- measurements


def _measured(region: Graph, options: argparse.Namespace) -> list[Facts]:
    """A row for each kernel of a convolution, the direct one first."""
    node, feeds = region.outputs[0], _feeds(region)
    meant = run_graph(region, feeds).outputs[node.name]
    bench = Bench(region, cpu(), options.threads)
    bench.feed(feeds)
    found = {name: bench.turn(built, cpu()) for name, built in kernels(region).items()}
    spent = best(list(found.values()), options.repeat, options.threads)
    chosen, tiles = _chosen(node), _tiles(node)
    rows = []
    for (name, kernel), seconds in zip(found.items(), spent, strict=True):
        kernel()
        largest, rms = errors(bench.value(node), meant)
        row: Facts = {"kernel": name, "op": node.op, "shapes": _title(region)}
        row |= {"largest": largest, "rms": rms, "allowed": ALLOWED[node.op]}
        row |= {"growth": growth(node, tiles[name]) if name in tiles else 1.0}
        row |= {"ms": 1e3 * seconds, "gflops": nominal(region) / seconds / 1e9}
        row |= {"speed": spent[0] / seconds}
        rows.append(row | {"chosen": [mode for mode, tile in chosen.items() if tile == name]})
    return rows


def errors(value: Array, meant: Array) -> tuple[float, float]:
    """The largest error and the root of the mean square, relative to those of what is meant."""
    apart = value.astype(np.float64) - meant
    largest = np.abs(apart).max() / np.abs(meant).max()
    return float(largest), float(np.sqrt(np.square(apart).mean() / np.square(meant).mean()))


def _feeds(region: Graph) -> Mapping[str, Array]:
    """Normal random numbers that float32 can hold."""
    random = np.random.default_rng(0)
    return {
        leaf.name: random.standard_normal(leaf.type.shape, np.float32)
        for leaf in region.leaves("input")
    }


# ---------------------------------------------------------------------------- kernels


def kernels(region: Graph) -> Mapping[str, Any]:
    """The direct kernel, and one of minimal filtering for each size of tiles, by their names."""
    families: Mapping[str, Any] = {
        "conv": conv.Conv,
        "conv_dx": conv.ConvDx,
        "conv_dw": gradient.ConvDw,
    }
    node, target = region.outputs[0], cpu()
    minimal = {
        name: families[node.op](region, target, node, tiles).build()
        for name, tiles in _tiles(node).items()
    }
    return {DIRECT: build(region, cpu(winograd="none")), **minimal}


def _tiles(node: Node) -> dict[str, Phases]:
    """Square tiles of all sizes, and those that are chosen; none where no kernel takes them."""
    chosen = _chosen(node).values()
    found = {_tile(each): each for each in candidates(node, "fast")}
    square = (name for name, each in found.items() if each.down.size == each.across.size)
    return {name: found[name] for name in (*square, *chosen) if name in found}


def _chosen(node: Node) -> Mapping[str, str]:
    """The kernel that each setting of --winograd takes."""
    found = {mode: phases(node, cpu(winograd=mode)) for mode in ("mild", "fast")}
    return {mode: _tile(each) if each else DIRECT for mode, each in found.items()}


def _tile(tiles: Phases) -> str:
    """Such as F(5x5,3x3); of a stride s the taps are those of a phase."""
    down, across = tiles.down, tiles.across
    return f"F({down.size}x{across.size},{down.taps}x{across.taps})"


# ---------------------------------------------------------------------------- command


def _title(region: Graph) -> str:
    node = region.outputs[0]
    shapes = " ".join("x".join(map(str, x.type.shape)) for x in node.inputs)
    stride: Any = node.attrs["stride"]
    return f"{node.op} {shapes}" + (f" stride {stride[0]}" if stride != (1, 1) else "")


def _line(row: Facts) -> list[str]:
    chosen: Any = row["chosen"]
    name = f"{row['shapes']}: {row['kernel']}"
    errors = f"{row['growth']:.0f} {row['largest']:.1e} {row['allowed']:.0e} {row['rms']:.1e}"
    return [
        name,
        *errors.split(),
        f"{row['ms']:.1f}",
        f"{row['gflops']:.0f}",
        f"{row['speed']:.2f}",
        ", ".join(chosen),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.errors", description=main.__doc__)
    add, cores = parser.add_argument, len(os.sched_getaffinity(0))
    add("--net", choices=NETS, default="alexnet", help="(default alexnet)")
    add("--batch", type=int, default=16, help="images (default 16)")
    add("--repeat", type=int, default=5, help="runs of each kernel (default 5)")
    add("--threads", type=int, default=cores, help="(default all cores)")
    add("--only", default="conv", metavar="OP", help="ops that begin so, such as conv_dw")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
