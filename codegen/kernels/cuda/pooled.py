"""Pools by way of shared memory (`patch.py`).

Forward, a block computes what is pooled, such as a norm, and then the pool. Backward, it finds the
maxima of the windows over its pixels, and then asks for every pixel whether it is one.
"""

from collections.abc import Collection

from tvm import tirx

from codegen.kernels.cuda import norm, window
from codegen.kernels.cuda.groups import Groups
from codegen.kernels.cuda.patch import Layout, Patch, Shared, best, patches
from codegen.kernels.cuda.position import Column, Position
from codegen.kernels.cuda.window import Maximum
from codegen.kernels.geometry import Geometry
from codegen.kernels.grouping import Group
from codegen.kernels.ranges import Range, largest
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node

# ---------------------------------------------------------------------------- forward


def pooled(groups: Groups, group: Group, after: Group) -> bool:
    """Launch both groups at once if the second is a pool of what the first computes."""
    pool = _pool(groups, group, after)
    if pool is None:
        return False
    computed, pixels = groups.computed(group), Pixels(pool)
    has_norm = any(node.op in norm.RULES for node in computed)
    lanes = min(groups.lanes(group), groups.lanes(after, group.kept))
    maps, reach = (norm.together(computed, lanes), norm.reach(computed)) if has_norm else ([1], 0)
    layout = best(after.shape, pixels.under, maps, reach=reach, lanes=lanes)
    if layout is None:
        return False
    _launch(groups, (group, after), pool, (layout, pixels), lanes)
    return True


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
    with patches(w, cut[0], lanes) as patch:
        array = patch.array()
        with patch.each_source() as (row, column):
            at = patch.block, patch.first, row, column
            pixel = Column(w, groups.rules, at, cut[0].size.maps)
            values = [position.vector(x) for position in pixel.positions]
            for position, value in zip(pixel.positions, values, strict=True):
                w.put_row(array, position.at, value)
            if places:
                with w.when(_is_owned(patch, cut[1], row, column)):
                    groups.write(group, places, pixel.positions)
        w.barrier()
        w.homes[x] = array
        with patch.each_result() as result:
            groups.write(after, places_after, [Position(w, groups.rules, result)])
    w.places |= places | places_after


def _is_owned(patch: Patch, pixels: Pixels, row: Expr, column: Expr) -> Expr:
    (_, bottom), (_, right) = patch.results
    return tirx.all(row < pixels.owned(0, bottom), column < pixels.owned(1, right))


# ---------------------------------------------------------------------------- backward


def unpooled(groups: Groups, group: Group) -> bool:
    """Launch a group that hands gradients to the maxima of windows."""
    w, node = groups.writer, _adjoint(groups.computed(group), group)
    if node is None:
        return False
    lanes = groups.lanes(group)
    geometry, counts = Geometry(node, group.shape[2:]), node.inputs[1].type.shape[2:]
    layout = best(
        group.shape,
        lambda axis, pixels: geometry.windows(axis, pixels, counts[axis]),
        [1],
        arrays=2,
        lanes=lanes,
    )
    if layout is None:
        return False
    places = groups.reserve(group)
    with patches(w, layout, lanes) as patch:
        value, place = patch.array(), patch.array("int32")
        with patch.each_source() as (i, j):
            at = patch.block, patch.first, i, j
            most = window.maximum(Position(w, groups.rules, at), node, geometry.taps(i, j))
            w.put_row(value, at, most.value)
            w.put_row(place, at, most.place)
        w.barrier()
        rules = groups.rules | {"max_pool_dx": _Found(value, place)}
        with patch.each_result() as result:
            groups.write(group, places, [Position(w, rules, result)])
    w.places |= places
    return True


def _adjoint(computed: Collection[Node], group: Group) -> Node | None:
    found = [node for node in computed if node.op == "max_pool_dx"]
    if len(found) != 1 or any(node.op in norm.RULES for node in computed):
        return None
    return found[0] if found[0].type.shape == group.shape else None


class _Found:
    """The rule of max_pool_dx when all maxima have been found."""

    def __init__(self, value: Shared, place: Shared) -> None:
        self._value, self._place = value, place

    def __call__(self, p: Position, node: Node) -> Lane:
        def most(i: Expr, j: Expr) -> Maximum:
            at = *p.at[:2], i, j
            return Maximum(p.writer.row(self._value, at), p.writer.row(self._place, at))

        return window.to_maxima(p, node, most)
