"""The adjoint of a max pool by way of shared memory (`patch.py`), and of a norm before the pool.

A block finds the maxima of the windows over its pixels, and then asks for every pixel whether it is
one. If a norm's adjoint follows, it does so for as many maps more as that looks at, leaves what the
pixels get in shared memory, and goes on to the norm there.
"""

from collections.abc import Collection
from math import prod

from codegen.kernels.cuda import norm, window
from codegen.kernels.cuda.groups import Groups
from codegen.kernels.cuda.patch import Box, Cost, Layout, Patch, Shared, best, patches, turns
from codegen.kernels.cuda.position import Column, Position
from codegen.kernels.cuda.window import Maximum
from codegen.kernels.cuda.writer import Writer
from codegen.kernels.geometry import Geometry
from codegen.kernels.grouping import Access, Group, access_of
from codegen.kernels.ranges import Range
from codegen.kernels.writer import TIR_DTYPE, Lane, Rule
from codegen.loops import Expr
from ir.graph import Node

_MAPS = 4  # times those of a thread: the most that a block may have


def unpooled(groups: Groups, group: Group) -> bool:
    """Launch a group that hands gradients to the maxima of windows."""
    w, node = groups.writer, _adjoint(groups.computed(group), group)
    if node is None:
        return False
    windows, lanes = _Windows(node), groups.lanes(group)
    layout = best(
        group.shape,
        windows.under,
        [1],
        lambda layout: Cost(windows.bytes * prod(layout.under), turns(prod(layout.under), lanes)),
    )
    if layout is None:
        return False
    places = groups.reserve(group)
    with patches(w, layout, lanes) as patch:
        rules = groups.rules | {"max_pool_dx": windows.found(groups, patch, patch.source)}
        with patch.each(patch.results) as at:
            groups.write(group, places, [Position(w, rules, at)])
    w.places |= places
    return True


def _adjoint(computed: Collection[Node], group: Group) -> Node | None:
    found = [node for node in computed if node.op == "max_pool_dx"]
    if len(found) != 1 or any(node.op in norm.RULES for node in computed):
        return None
    return found[0] if found[0].type.shape == group.shape else None


class _Windows:
    """The windows of a pool, which hand gradients to their maxima."""

    def __init__(self, node: Node) -> None:
        self._node, self._counts = node, node.inputs[1].type.shape[2:]
        self._geometry = Geometry(node, node.type.shape[2:])
        self._first = node.attrs["ties"] == "first"
        self.bytes = node.type.dtype.bytes + 4 * self._first  # of a maximum
        self.taps = prod(self._geometry.window)

    def under(self, axis: int, pixels: Range) -> Range:
        """The windows that meet some pixels."""
        return self._geometry.windows(axis, pixels, self._counts[axis])

    def found(self, groups: Groups, patch: Patch, box: Box) -> Rule:
        """The rule of `max_pool_dx` once the maxima of a box of windows have been found."""
        w = groups.writer
        value = patch.array(box, TIR_DTYPE[self._node.type.dtype])
        place = patch.array(box, "int32") if self._first else None
        with patch.each(box) as at:
            taps = self._geometry.taps(*at[2:])
            most = window.maximum(Position(w, groups.rules, at), self._node, taps)
            w.put_row(value, at, most.value)
            if place and most.place:
                w.put_row(place, at, most.place)
        w.barrier()
        return _handed_out(w, value, place)


def _handed_out(w: Writer, value: Shared, place: Shared | None) -> Rule:
    def rule(p: Position, node: Node) -> Lane:
        def most(i: Expr, j: Expr) -> Maximum:
            at = *p.at[:2], i, j
            return Maximum(w.row(value, at), w.row(place, at) if place else None)

        return window.to_maxima(p, node, most)

    return rule


# ---------------------------------------------------------------------------- with a norm


def unpooled_norm(groups: Groups, group: Group, after: Group) -> bool:
    """Launch both groups at once if the second is the adjoint of a norm, and all that it reads of
    the first is a value that follows from the adjoint of a pool."""
    w, node = groups.writer, _adjoint(groups.computed(group), group)
    if node is None or not _is_for_norm(groups, group, after):
        return False
    (value,) = group.kept
    computed, windows = groups.computed(after, group.kept), _Windows(node)
    # What is done before the norm leaves room for more lanes.
    many = groups.lanes(group)
    own = _Own(computed, min(many, groups.lanes(after, group.kept)))
    layout = best(
        after.shape,
        windows.under,
        [n * own.maps for n in range(1, _MAPS + 1) if after.shape[1] % (n * own.maps) == 0],
        lambda layout: _cost(layout, windows, many, own, value.type.dtype.bytes),
    )
    if layout is None:
        return False
    places = groups.reserve(after)
    with patches(w, layout, own.lanes) as patch:
        pixels, under = (patch.wider(box, *own.around) for box in (patch.results, patch.source))
        gradient = patch.array(pixels, TIR_DTYPE[value.type.dtype])
        with patch.spread(many):
            rules = groups.rules | {"max_pool_dx": windows.found(groups, patch, under)}
            with patch.each(pixels) as at:
                w.put_row(gradient, at, Position(w, rules, at).vector(value))
        w.barrier()
        w.homes[value] = gradient
        with patch.each(patch.results, own.maps) as at:
            groups.write(after, places, Column(w, groups.rules, at, own.maps).positions)
    w.places |= places
    return True


class _Own:
    """What a thread has of a norm's adjoint: lanes, maps, and those `around` that it looks at."""

    def __init__(self, computed: Collection[Node], lanes: int) -> None:
        self.lanes = lanes
        self.maps, self.around = max(norm.together(computed, lanes)), norm.around(computed)


def _is_for_norm(groups: Groups, group: Group, after: Group) -> bool:
    """Whether all that the first group does is to compute a value for a norm in the second."""
    # Blocks overlap in what they read: none may change it.
    if after.maker or group.commits or after.commits or len(group.kept) != 1:
        return False
    (value,), computed = group.kept, groups.computed(after, group.kept)
    if group.shape != after.shape or groups.is_stored(value, computed):
        return False
    reads = (
        (node, place)
        for node in computed
        for place, x in enumerate(node.inputs)
        if _follows(x, value, computed)
    )
    near = all(_is_near(node, place) for node, place in reads)
    return near and any(node.op == "lrn_dx" for node in computed)


def _is_near(node: Node, place: int) -> bool:
    """Whether an operand is read at its own position, or as a norm's adjoint reads dy."""
    return (node.op, place) == ("lrn_dx", 1) or access_of(node, place) is Access.SAME


def _follows(value: Node, node: Node, computed: Collection[Node]) -> bool:
    """Whether a value is the node, or computed from it."""
    followed = (_follows(x, node, computed) for x in value.inputs)
    return value is node or (value in computed and any(followed))


def _cost(layout: Layout, windows: _Windows, many: int, own: _Own, size: int) -> Cost:
    """Time is instructions, roughly: for each lane 3 for a pixel of a window, 25 to ask whether it
    is a maximum, 40 for a map of a norm. A thread has `many` lanes before the norm; what a pixel
    gets has `size` bytes."""
    around, pixels = sum(own.around), layout.size.rows * layout.size.columns
    maps = layout.size.maps + around
    under, given = maps * prod(layout.under), maps * pixels
    normed = turns(layout.size.maps // own.maps * pixels, own.lanes) * (own.maps + around)
    time = many * (turns(under, many) * 3 * windows.taps + turns(given, many) * 25)
    return Cost(windows.bytes * under + size * given, time + own.lanes * normed * 40)
