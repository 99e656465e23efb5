"""The general kernel: any region without a contraction, one launch for each of its groups.

A thread computes its lanes of all values of a group, for one position or some neighbours along axis
1. Pools are better off with shared memory (`pooled.py`, `unpooled.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

from codegen.kernels.cuda import norm, spatial_norm, window
from codegen.kernels.cuda.groups import Groups
from codegen.kernels.cuda.pooled import pooled
from codegen.kernels.cuda.position import Column
from codegen.kernels.cuda.rules import MAKERS, RULES
from codegen.kernels.cuda.unpooled import unpooled, unpooled_norm
from codegen.kernels.cuda.writer import WARP, Built, Writer
from codegen.kernels.grouping import Group
from codegen.targets import Cuda
from ir.graph import Graph

_LOOPS = {*window.RULES, *spatial_norm.RULES, *spatial_norm.MAKERS}
_AHEAD = 8  # elements of an operand that a thread loads at once


def staged(region: Graph, target: Cuda) -> Built | str:
    """The kernel of a region, or why there is none."""
    for node in region.nodes:
        if node.inputs and node.op not in RULES and node.op not in MAKERS:
            return f"{node.op} is no op of this family"
    w = Writer(region, target)
    groups = Groups(w)
    left = list(groups.all)
    while left:
        if len(left) > 1 and (pooled(groups, *left[:2]) or unpooled_norm(groups, *left[:2])):
            del left[:2]
            continue
        group = left.pop(0)
        groups.make(group)
        if not unpooled(groups, group):
            _write(groups, group)
    return w.built()


def _write(groups: Groups, group: Group) -> None:
    """A launch over all positions of a group."""
    places = groups.reserve(group)
    with _column(groups, group) as column:
        groups.write(group, places, column.positions)
    groups.writer.places |= places


@contextmanager
def _column(groups: Groups, group: Group) -> Iterator[Column]:
    """The launch. Yields a thread's own positions."""
    w, shape = groups.writer, group.shape
    if not shape:
        with w.tasks(1, warps=1), w.when(w.lane == 0):
            yield Column(w, groups.rules, ())
        return
    lanes = groups.lanes(group)
    count = _neighbours(groups, group, lanes)
    extents = [-(-shape[0] // WARP), *shape[1:]]
    if count > 1:
        extents[1] //= count
    with w.tasks(prod(extents), lanes=lanes) as task:
        block, *rest = w.indices(task, extents)
        if rest:
            rest[0] = w.let(rest[0] * count)
        yield Column(w, groups.rules, (block, *rest), count)


def _neighbours(groups: Groups, group: Group, lanes: int) -> int:
    """How many positions a thread computes: norms share what they look at, others load ahead."""
    computed = groups.computed(group)
    if any(node.op in norm.RULES for node in computed):
        return max(norm.together(computed, lanes))
    if len(group.shape) < 2 or any(node.op in _LOOPS for node in computed):
        return 1
    return max(n for n in range(1, _AHEAD // lanes + 1) if group.shape[1] % n == 0)
