"""Pools by way of shared memory (`patch.py`): a block computes what is pooled, such as a norm, and
then the pool."""

from tvm import tirx

from codegen.kernels.cuda import norm
from codegen.kernels.cuda.groups import Groups
from codegen.kernels.cuda.patch import Cost, Layout, Patch, best, patches, turns
from codegen.kernels.cuda.position import Column, Position
from codegen.kernels.geometry import Geometry
from codegen.kernels.grouping import Group
from codegen.kernels.ranges import Range, largest
from codegen.kernels.writer import TIR_DTYPE
from codegen.loops import Expr
from ir.graph import Node


def pooled(groups: Groups, group: Group, after: Group) -> bool:
    """Launch both groups at once if the second is a pool of what the first computes."""
    pool = _pool(groups, group, after)
    if pool is None:
        return False
    computed, pixels = groups.computed(group), Pixels(pool)
    lanes = min(groups.lanes(group), groups.lanes(after, group.kept))
    has_norm = any(node.op in norm.RULES for node in computed)
    maps, reach = (norm.together(computed, lanes), norm.reach(computed)) if has_norm else ([1], 0)
    size = pool.inputs[0].type.dtype.bytes
    layout = best(after.shape, pixels.under, maps, lambda layout: cost(layout, reach, lanes, size))
    if layout is None:
        return False
    _launch(groups, (group, after), pool, (layout, pixels), lanes)
    return True


def cost(layout: Layout, reach: int, lanes: int, size: int) -> Cost:
    """A thread makes all maps of a position of the source at once, and looks at `reach` more; an
    element has `size` bytes."""
    (down, across), maps = layout.under, layout.size.maps
    return Cost(maps * down * across * size, turns(down * across, lanes) * (maps + reach))


def _pool(groups: Groups, group: Group, after: Group) -> Node | None:
    """The pool that the second group is about, if all that it reads of the first goes there."""
    # Blocks overlap in the first group: none may change what another one reads.
    if group.maker or after.maker or group.commits or after.commits:
        return None
    readers = [
        (node, x)
        for node in groups.computed(after, group.kept)
        for x in node.inputs
        if x in group.kept
    ]
    if len(readers) != 1:
        return None
    pool, x = readers[0]
    fits = x.type.shape == group.shape and pool.type.shape == after.shape
    return pool if pool.op in ("max_pool", "avg_pool") and fits else None


class Pixels:
    """What lies under the windows of a patch: between patches, every pixel has one owner."""

    def __init__(self, pool: Node) -> None:
        self._size, self._counts = pool.inputs[0].type.shape[2:], pool.type.shape[2:]
        self._geometry = Geometry(pool, self._size)

    def under(self, axis: int, windows: Range) -> Range:
        """The pixels of the windows, and those that the patch owns."""
        first, end = windows
        pixels = self._geometry.pixels
        return pixels(axis, first)[0], largest(pixels(axis, end - 1)[1], self.owned(axis, end))

    def owned(self, axis: int, end: Expr) -> Expr:
        """Where the next patch begins, given the end of this one's windows."""
        size, count = self._size[axis], self._counts[axis]
        if isinstance(end, int):
            return size if end == count else self._geometry.pixels(axis, end)[0]
        return tirx.Select(end == count, size, self._geometry.pixels(axis, end)[0])


def _launch(
    groups: Groups, both: tuple[Group, Group], pool: Node, cut: tuple[Layout, Pixels], lanes: int
) -> None:
    w, (group, after), x = groups.writer, both, pool.inputs[0]
    places, places_after = groups.reserve(group, {pool}), groups.reserve(after)
    maps = cut[0].size.maps
    with patches(w, cut[0], lanes) as patch:
        array = patch.array(patch.source, TIR_DTYPE[x.type.dtype])
        with patch.each(patch.source, maps) as at:
            pixel = Column(w, groups.rules, at, maps)
            values = [position.vector(x) for position in pixel.positions]
            for position, value in zip(pixel.positions, values, strict=True):
                w.put_row(array, position.at, value)
            if places:
                with w.when(_is_owned(patch, cut[1], at)):
                    groups.write(group, places, pixel.positions)
        w.barrier()
        w.homes[x] = array
        with patch.each(patch.results) as at:
            groups.write(after, places_after, [Position(w, groups.rules, at)])
    w.places |= places | places_after


def _is_owned(patch: Patch, pixels: Pixels, at: list[Expr]) -> Expr:
    ends = [pixels.owned(axis, patch.results.end[1 + axis]) for axis in (0, 1)]
    return tirx.all(*(index < end for index, end in zip(at[2:], ends, strict=True)))
