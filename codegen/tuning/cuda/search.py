"""The best tile of a contraction for GPUs, found by timing a few that should be the best."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from codegen import emit
from codegen.cache import Cache, Compiled
from codegen.compile import compile_some
from codegen.folder import publish
from codegen.kernels import build
from codegen.kernels.cuda.tile import next_best
from codegen.kernels.cuda.writer import Built
from codegen.keys import key_of
from codegen.region import Region, buffers
from codegen.targets import Cuda
from codegen.tuning.cuda.single import only
from codegen.tuning.parameters import Shape
from ir.graph import Graph
from ir.plan import Plan, folder
from ir.printer import print_graph

CANDIDATES = 8
"""Tiles that are tried beside the one that costs least by estimate."""
WORTH = 0.98
"""Part of the estimated best one's time that is little enough to be more than noise."""

Clock = Callable[[Plan, Path], dict[str, float]]
"""Seconds of each kernel of a plan, whose files lie in a folder: `timing.seconds` on a GPU."""


@dataclass(frozen=True)
class Found:
    """The best tile, the seconds that it takes, and those of the one that costs least by estimate.

    `tried` is how many had a kernel.
    """

    shape: Shape
    seconds: float
    before: float
    tried: int


def search(region: Graph, target: Cuda, clock: Clock, cache: Cache | None) -> Found | None:
    """Try tiles for a region's kernel; None where it has no tile to choose. Raises Error.

    `target` has one architecture. Tiles whose kernel is refused, such as for registers that it
    spills, are passed over. A build finds what it will need in the cache.
    """
    text = print_graph(region)
    shapes = {key_of(region, target.shaped(shape)): shape for shape in candidates(region, target)}
    jobs = {key: (text, target.shaped(shape)) for key, shape in shapes.items()}
    kernels = compile_some(jobs, cache)
    if not kernels:
        return None
    seconds = _timed(region, kernels, target, clock)
    first, best = next(iter(kernels)), min(seconds, key=lambda key: seconds[key])
    if seconds[best] > WORTH * seconds[first]:
        best = first
    return Found(shapes[best], seconds[best], seconds[first], len(kernels))


def candidates(region: Graph, target: Cuda) -> Iterator[Shape]:
    """The tile that a build would take, then others that should be nearly as good."""
    built = build(region, target)
    assert isinstance(built, Built)
    if built.tile is None:
        return
    yield built.tile.shape
    yield from (tile.shape for tile in next_best(built.tile, CANDIDATES))


def _timed(
    region: Graph, kernels: Mapping[str, Compiled], target: Cuda, clock: Clock
) -> dict[str, float]:
    """Seconds of each kernel, all of them in a plan of their own."""
    alone = Region(region, buffers(region))
    records = {key: emit.kernel(alone, key, made, target) for key, made in kernels.items()}
    files = {
        emit.file_name(key, suffix): content
        for key, made in kernels.items()
        for suffix, content in made.files.items()
    }
    with tempfile.TemporaryDirectory() as place:
        path, plan = Path(place) / "plan.json", only("tiles", target, records)
        publish(plan, path, files)
        return clock(plan, folder(path))
