"""memory: fixed offsets in one arena per device.

Needs a scheduled program. Ensures an `offset` note on every value that is stored, a multiple of
64 bytes, such that no two buffers overlap while both are live. Buffers are placed one by one, the
largest first, each at the lowest offset that is free over its whole life.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ir.graph import Graph, Node
from ir.type import Device, IRError
from passes.context import Context
from passes.lifetime import Buffer, Lifetimes, Size, logical_bytes
from passes.schedule import is_scheduled

ALIGNMENT = 64


@dataclass(frozen=True)
class Arenas:
    """Offsets in bytes; per device, the size of the arena and the bound no plan can beat."""

    offsets: dict[Node, int]
    bytes: dict[Device, int]
    lower_bound: dict[Device, int]


def memory(graph: Graph, context: Context) -> Graph:
    """Note an offset for every stored value, at its logical size."""
    return graph.with_note("offset", plan_memory(graph).offsets)


def plan_memory(graph: Graph, size: Size = logical_bytes) -> Arenas:
    """Plan the arenas for values of the given sizes. Raises IRError if there is no schedule."""
    if not is_scheduled(graph):
        raise IRError(f"graph {graph.name} has no schedule; run the pass 'schedule' first")
    lifetimes = Lifetimes(graph, size)
    offsets: dict[Buffer, int] = {}
    arenas: dict[Device, int] = {}
    for device in graph.devices():
        buffers = [buffer for buffer in lifetimes.buffers() if buffer.device == device]
        placed = _pack(buffers)
        offsets.update(placed)
        arenas[device] = max((o + _padded(b) for b, o in placed.items()), default=0)
    nodes = {node: offsets[buffer] for node, buffer in lifetimes.buffer.items()}
    return Arenas(nodes, arenas, lifetimes.peak())


def _padded(buffer: Buffer) -> int:
    return -(-buffer.bytes // ALIGNMENT) * ALIGNMENT


def _pack(buffers: list[Buffer]) -> dict[Buffer, int]:
    """The better of two orders: by size, and by size times life."""
    by_size = sorted(buffers, key=lambda b: (-b.bytes, b.start))
    by_area = sorted(buffers, key=lambda b: (-b.bytes * (b.end - b.start + 1), b.start))
    plans = [_first_fit(order) for order in (by_size, by_area)]
    return min(plans, key=lambda plan: max((o + _padded(b) for b, o in plan.items()), default=0))


def _first_fit(order: list[Buffer]) -> dict[Buffer, int]:
    """Give each buffer in turn the lowest offset that is free over its whole life."""
    offsets: dict[Buffer, int] = {}
    # Columns: start and end of life, begin and end in memory, of the buffers placed so far.
    placed: npt.NDArray[np.int64] = np.zeros((4, len(order)), np.int64)
    for count, buffer in enumerate(order):
        known = placed[:, :count]
        meets = (known[0] <= buffer.end) & (known[1] >= buffer.start)
        begin = _lowest_gap(known[2:, meets], _padded(buffer))
        placed[:, count] = buffer.start, buffer.end, begin, begin + _padded(buffer)
        offsets[buffer] = begin
    return offsets


def _lowest_gap(taken: npt.NDArray[np.int64], size: int) -> int:
    """The lowest offset with `size` free bytes among ranges (begins, ends) that are taken."""
    order = np.argsort(taken[0], kind="stable")
    begins = taken[0, order]
    free_from = np.concatenate([[0], np.maximum.accumulate(taken[1, order])]).astype(np.int64)
    fits = begins - free_from[:-1] >= size
    return int(free_from[np.argmax(fits)]) if fits.any() else int(free_from[-1])
