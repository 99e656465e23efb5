"""The kernels of a plan, each run in a program of its own (`codegen.tuning.cuda.single`)."""

from pathlib import Path

import numpy as np

from codegen.layout import layout_of
from codegen.region import buffers
from codegen.tuning.cuda.single import places
from ir.graph import Graph, Node
from ir.op import Array
from ir.plan import Plan, folder
from ir.text import read as read_graph
from runtime.binding import kind
from runtime.executor import Executor
from runtime.memory import as_bytes
from tests.operands import memory, results


def region_of(path: Path, kernel: str) -> Graph:
    """What a kernel of a plan means."""
    return read_graph(str(folder(path) / "kernels" / f"{kernel}.ir"))


def arguments(plan: Plan, region: Graph, feeds: dict[str, Array]) -> dict[Node, Array]:
    """The memory of a kernel's arguments, in order, as `tests.operands.memory` makes it."""
    layout = layout_of(kind(plan))
    nodes = buffers(region)
    return {node: memory(node, feeds, layout) for node in nodes}


def run(
    executor: Executor, kernel: str, region: Graph, given: dict[Node, Array]
) -> dict[str, Array]:
    """The results of one kernel by logical name; guards and the padding of states are checked.

    `executor` has the plan that `single` made; `given` is what `arguments` made.
    """
    arena, at = executor.memories[0], places(executor.plan.kernels[kernel])
    for place, data in zip(at, given.values(), strict=False):
        arena.write(place, as_bytes(data))
    executor.begin(kernel)
    executor.step(kernel, 0)
    found = {
        node: np.array(arena.read(place, data.nbytes))
        for place, (node, data) in zip(at, given.items(), strict=False)
    }
    return results(region, found, layout_of(kind(executor.plan)))
