"""memory: fixed offsets in one arena per device.

Needs a scheduled program. Ensures an `offset` note on every value that is stored, a multiple of
64 bytes, such that no two buffers overlap while both are live. What lives throughout lies at the
bottom. The rest is placed one by one, the largest first, each at the lowest offset that is free
over its whole life; where that is not optimal, also by size times life, and the better plan wins.
"""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from ir.graph import Graph, Node
from ir.type import Device, IRError
from passes.context import Context
from passes.lifetime import Buffer, Lifetimes, Size, live_bytes, logical_bytes
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
        placed = _pack(buffers, lifetimes.end)
        offsets.update(placed)
        arenas[device] = _extent(placed)
    nodes = {node: offsets[buffer] for node, buffer in lifetimes.buffer.items()}
    return Arenas(nodes, arenas, lifetimes.peak())


def _padded(buffer: Buffer) -> int:
    return -(-buffer.bytes // ALIGNMENT) * ALIGNMENT


def _extent(offsets: dict[Buffer, int]) -> int:
    return max((offset + _padded(buffer) for buffer, offset in offsets.items()), default=0)


def _pack(buffers: list[Buffer], end: int) -> dict[Buffer, int]:
    """Offsets for the buffers of one device, whose step ends at position `end`."""
    always = [b for b in buffers if b.start == 0 and b.end == end]
    tops = [0, *accumulate(map(_padded, always))]
    bottom = dict(zip(always, tops, strict=False))
    passing = [b for b in buffers if b not in bottom]
    by_size = sorted(passing, key=lambda b: (-b.bytes, b.start))
    by_area = sorted(passing, key=lambda b: (-b.bytes * (b.end - b.start + 1), b.start))
    best = _first_fit(by_size)
    if _extent(best) > max(live_bytes(passing, end)):
        best = min(best, _first_fit(by_area), key=_extent)
    return bottom | {buffer: tops[-1] + offset for buffer, offset in best.items()}


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
