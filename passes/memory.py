"""memory: fixed offsets in one arena per device.

Needs a scheduled program. Ensures an `offset` note on every value that is stored, a multiple of
64 bytes, such that no two buffers overlap while both are live. What lives throughout lies at the
bottom. The rest is placed one by one, the largest first, each at the lowest offset that is free
over its whole life; where that is not optimal, also by size times life, and the better plan wins.
Several programs may keep their states in the same places of the same arenas.
"""

from collections.abc import Mapping, Sequence
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
KEPT = ("param", "state", "constant")


@dataclass(frozen=True)
class Arenas:
    """Offsets in bytes; per device, the size of the arena and the bound no plan can beat."""

    offsets: dict[Node, int]
    bytes: dict[Device, int]
    lower_bound: dict[Device, int]


def memory(graph: Graph, context: Context) -> Graph:
    """Note an offset for every stored value, at its logical size."""
    return graph.with_note("offset", plan_memory(graph).offsets)


def plan_memory(graph: Graph, size: Size = logical_bytes, resident: Sequence[Node] = ()) -> Arenas:
    """Plan the arenas for values of the given sizes. Raises IRError if there is no schedule.

    `resident` are params, states and constants, of this or another program, each with a device.
    They own the bottom of their arenas in the given order, so all programs planned with the same
    ones agree.
    """
    if not is_scheduled(graph):
        raise IRError(f"graph {graph.name} has no schedule; run the pass 'schedule' first")
    lifetimes = Lifetimes(graph, size)
    places, tops = _reserve(resident, size)
    offsets: dict[Buffer, int] = {}
    arenas = dict(tops)
    for device in graph.devices():
        buffers = [buffer for buffer in lifetimes.buffers() if buffer.device == device]
        kept = {b: places[b.values[0].name] for b in buffers if _is_kept(b, places)}
        placed = _pack([b for b in buffers if b not in kept], lifetimes.end)
        above = tops.get(device, 0)
        offsets |= kept | {buffer: above + offset for buffer, offset in placed.items()}
        arenas[device] = above + _extent(placed)
    nodes = {node: offsets[buffer] for node, buffer in lifetimes.buffer.items()}
    return Arenas(nodes, arenas, _bounds(graph, lifetimes, resident, size))


def _bounds(
    graph: Graph, lifetimes: Lifetimes, resident: Sequence[Node], size: Size
) -> dict[Device, int]:
    """The most bytes live at once, with what other programs keep."""
    bounds = lifetimes.peak()
    here = {leaf.name for leaf in graph.leaves(*KEPT)}
    for leaf in resident:
        if leaf.name not in here and leaf.device is not None:
            bounds[leaf.device] = bounds.get(leaf.device, 0) + size(leaf)
    return bounds


def _reserve(resident: Sequence[Node], size: Size) -> tuple[dict[str, int], dict[Device, int]]:
    """Offsets by name of leaves packed from the bottom up, and where they end on each device."""
    places: dict[str, int] = {}
    tops: dict[Device, int] = {}
    for leaf in resident:
        assert leaf.device is not None
        places[leaf.name] = tops.get(leaf.device, 0)
        tops[leaf.device] = places[leaf.name] + _aligned(size(leaf))
    return places, tops


def _is_kept(buffer: Buffer, places: Mapping[str, int]) -> bool:
    return buffer.values[0].op in KEPT and buffer.values[0].name in places


def _padded(buffer: Buffer) -> int:
    return _aligned(buffer.bytes)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


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
