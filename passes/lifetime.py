"""When each buffer is live: the facts that schedule and memory share.

Position p is the p-th region of the total order; 0 is before the first, and what must outlast the
step lives one position past the last. Values that share memory share a buffer: a view and what it
views, a state and its next value, a pointwise result and an operand that dies with it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

from ir.graph import Graph, Node
from ir.op import Absent, Fusion
from ir.ops import row_of
from ir.type import Device, IRError
from passes.regions import is_pointwise, leaves_region

Size = Callable[[Node], int]


def logical_bytes(node: Node) -> int:
    """The size of a value before codegen chose its physical layout."""
    return node.type.bytes


@dataclass(eq=False)
class Buffer:
    """A piece of one device's arena, live over the positions [start, end]."""

    device: Device
    bytes: int
    start: int
    end: int
    values: list[Node]


def live_bytes(buffers: Iterable[Buffer], end: int) -> list[int]:
    """The bytes live at each position from 0 to `end`."""
    change = [0] * (end + 2)
    for buffer in buffers:
        change[buffer.start] += buffer.bytes
        change[buffer.end + 1] -= buffer.bytes
    return list(accumulate(change))[:-1]


def _is_fed_tensor(node: Node) -> bool:
    return node.op == "input" and node.type.rank > 0


def _leaves(graph: Graph) -> dict[Node, Node]:
    """The parameter or state whose place each new value takes."""
    found: dict[Node, Node] = {}
    for pair in graph.updates:
        if found.setdefault(pair.value, pair.leaf) is not pair.leaf:
            raise IRError(
                f"'{pair.value.name}' is the next value of '{found[pair.value].name}' and of "
                f"'{pair.leaf.name}', expected a value for each: it takes the place of one"
            )
    return found


class Lifetimes:
    """The buffers of a scheduled program. Raises IRError if an update cannot be done in place."""

    def __init__(self, graph: Graph, size: Size = logical_bytes) -> None:
        self._graph, self._size = graph, size
        self._region = graph.note("region")
        self._uses = graph.uses()
        self._position = self._positions()
        self.end = 1 + max(self._position.values(), default=0)
        self._results = set(graph.outputs) | {pair.value for pair in graph.gradients}
        self._leaf_of = _leaves(graph)
        self._pure = self._pointwise_regions()
        self.buffer: dict[Node, Buffer] = {}
        for node in graph.nodes:
            if self._stored(node):
                self._store(node)

    def buffers(self) -> list[Buffer]:
        """Every buffer once, in program order."""
        return list(dict.fromkeys(self.buffer.values()))

    def peak(self) -> dict[Device, int]:
        """Per device, the most bytes live at one position: what any plan needs at least."""
        groups: dict[Device, list[Buffer]] = {device: [] for device in self._graph.devices()}
        for buffer in self.buffers():
            groups[buffer.device].append(buffer)
        return {device: max(live_bytes(group, self.end)) for device, group in groups.items()}

    # ------------------------------------------------------------------------ one value

    def _positions(self) -> dict[int, int]:
        order = dict.fromkeys(self._region[n] for n in self._graph.nodes if n in self._region)
        return {region: place for place, region in enumerate(order, start=1)}

    def _at(self, node: Node) -> int:
        return self._position[self._region[node]] if node in self._region else 0

    def _stored(self, node: Node) -> bool:
        """Whether the value outlives its region."""
        kept = node in self._results or node in self._leaf_of
        return row_of(node).is_leaf or kept or leaves_region(node, self._region, self._uses)

    def _last_use(self, node: Node) -> int:
        # A fed scalar has a place of its own: the host may write the next one at any time.
        kept = node in self._results or (row_of(node).is_leaf and not _is_fed_tensor(node))
        return self.end if kept else max((self._at(u) for u in self._uses[node]), default=0)

    def _store(self, node: Node) -> None:
        buffer = self._shared(node)
        if buffer is None:
            if node.device is None:
                raise IRError(f"'{node.name}' has no device; run the pass 'transfer' first")
            start = self._at(node)
            buffer = Buffer(node.device, self._size(node), start, start, [])
        buffer.end = max(buffer.end, self._last_use(node))
        buffer.values.append(node)
        self.buffer[node] = buffer

    # ------------------------------------------------------------------------ sharing

    def _shared(self, node: Node) -> Buffer | None:
        """A buffer that the value can live in without a copy."""
        if node in self._leaf_of:
            return self._state_of(node)
        if row_of(node).fusion is Fusion.VIEW:
            viewed = node.inputs[0]
            if viewed in self.buffer and viewed.op not in ("param", "state"):
                return self.buffer[viewed]
        if self._region.get(node) in self._pure:
            fitting = (b for b in self._operands_in_place(node) if self._dies_into(b, node))
            return next(fitting, None)
        return None

    def _state_of(self, node: Node) -> Buffer:
        """The memory of the state that the value replaces, free to be written by then."""
        leaf, here = self._leaf_of[node], self._at(node)
        if leaf in self._results:
            raise IRError(
                f"'{leaf.name}' cannot be updated in place by '{node.name}': it is a result too; "
                "expected results that are computed"
            )
        for user in self._uses[leaf]:
            if self._at(user) > here or (self._at(user) == here and not is_pointwise(user)):
                raise IRError(
                    f"'{leaf.name}' cannot be updated in place by '{node.name}': '{user.name}' "
                    "still reads it; expected every reader before the update"
                )
        if here == 0:
            raise IRError(f"'{leaf.name}' cannot be updated by the leaf '{node.name}'")
        return self.buffer[leaf]

    def _pointwise_regions(self) -> set[int]:
        """Regions in which element i of every value needs element i of the others only."""
        mixed = {region for node, region in self._region.items() if not is_pointwise(node)}
        return set(self._region.values()) - mixed

    def _operands_in_place(self, node: Node) -> Iterable[Buffer]:
        """Buffers of operands, of this node or further up its region, that it may overwrite."""
        alias = row_of(node).alias
        if isinstance(alias, Absent):
            return
        for place, operand in enumerate(node.inputs):
            if row_of(node).operand_name(place) in alias:
                if operand in self.buffer:
                    yield self.buffer[operand]
                elif self._at(operand) == self._at(node):
                    yield from self._operands_in_place(operand)

    def _dies_into(self, buffer: Buffer, node: Node) -> bool:
        here = self._at(node)
        last = max((self._last_use(value) for value in buffer.values), default=0)
        return last == here and buffer.bytes == self._size(node)
