"""What lies in the arenas as a program goes: every byte that is read was written before.

The steps are followed in their order over ranges of bytes. Devices run at the same time, but only
moves join them, so the order is as good as any other.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from ir.plan.records import Argument, Plan, Program, Run, Tensor

Range = tuple[int, int]


class Arena:
    """The live values of one device: disjoint ranges [begin, end) in order; some are protected."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        self.states: list[Range] = []
        self.fills: list[Range] = []

    def write(self, begin: int, end: int) -> None:
        """A new value; what it overwrites, even in part, is no value any more."""
        old = self._meeting(begin, end)
        self._begins[old] = [begin]
        self._ends[old] = [end]

    def holds(self, begin: int, end: int) -> bool:
        """Whether every byte of a range belongs to a value."""
        for place in range(*self._meeting(begin, end).indices(len(self._begins))):
            if self._begins[place] > begin:
                return False
            begin = self._ends[place]
        return begin >= end

    def taken(self, begin: int, end: int) -> bool:
        """Whether any byte of a range belongs to a value."""
        old = self._meeting(begin, end)
        return bool(old.start < old.stop)

    def _meeting(self, begin: int, end: int) -> slice:
        return slice(bisect_right(self._ends, begin), bisect_left(self._begins, end))


def complaints(plan: Plan) -> Iterator[str]:
    """Reads of nothing, writes over what must stay, arguments in each other's way."""
    arenas = [Arena() for _ in plan.devices]
    for number, state in enumerate(plan.states):
        place = _place(state.tensor)
        yield from _give(arenas, f"$.states[{number}].tensor", state.tensor)
        arenas[state.tensor.device].states.append(place)
    for name, program in plan.programs.items():
        yield from _program(plan, f"$.programs.{name}", program)


def _program(plan: Plan, where: str, program: Program) -> Iterator[str]:
    arenas = [Arena() for _ in plan.devices]
    for state in plan.states:
        arenas[state.tensor.device].write(*_place(state.tensor))
        arenas[state.tensor.device].states.append(_place(state.tensor))
    for number, feed in enumerate(program.feeds):
        yield from _give(arenas, f"{where}.feeds[{number}].tensor", feed.tensor)
    for number, fill in enumerate(program.fills):
        yield from _give(arenas, f"{where}.fills[{number}].tensor", fill.tensor)
        arenas[fill.tensor.device].fills.append(_place(fill.tensor))
    for number, step in enumerate(program.steps):
        path = f"{where}.steps[{number}]"
        if isinstance(step, Run):
            yield from _run(plan, arenas[step.device], path, step)
        else:
            source = (step.source_offset, step.source_offset + step.bytes)
            target = (step.target_offset, step.target_offset + step.bytes)
            yield from _read(arenas[step.source], f"{path}.source_offset", source)
            yield from _write(arenas[step.target], f"{path}.target_offset", target)
    for number, output in enumerate(program.outputs):
        yield from _read(arenas[output.device], f"{where}.outputs[{number}].offset", _place(output))


def _place(tensor: Tensor) -> Range:
    return tensor.offset, tensor.offset + tensor.bytes


def _give(arenas: list[Arena], path: str, tensor: Tensor) -> Iterator[str]:
    """The host puts a tensor where nothing else lies yet."""
    arena, place = arenas[tensor.device], _place(tensor)
    if arena.taken(*place):
        yield f"{path}.offset: {_shown(place)} overlaps another tensor, expected a free place"
    arena.write(*place)


def _run(plan: Plan, arena: Arena, path: str, step: Run) -> Iterator[str]:
    arguments = plan.kernels[step.kernel].arguments
    places = [(o, o + a.bytes) for o, a in zip(step.offsets, arguments, strict=True)]
    yield from _aliases(path, places, arguments)
    for number, (place, argument) in enumerate(zip(places, arguments, strict=True)):
        if argument.access != "write":
            yield from _read(arena, f"{path}.offsets[{number}]", place)
        if argument.access == "update" and _meets(place, arena.fills):
            yield f"{path}.offsets[{number}]: {_shown(place)} overwrites a constant"
    for number, (place, argument) in enumerate(zip(places, arguments, strict=True)):
        if argument.access == "write":
            yield from _write(arena, f"{path}.offsets[{number}]", place)


def _aliases(path: str, places: list[Range], arguments: tuple[Argument, ...]) -> Iterator[str]:
    """Arguments share bytes only to read them, or a result takes the whole place of an operand."""
    for number, place in enumerate(places):
        if arguments[number].access == "read":
            continue
        for other, beside in enumerate(places):
            both_change = arguments[other].access != "read"
            if other != number and _meets(place, [beside]) and (both_change or place != beside):
                yield (
                    f"{path}.offsets[{number}]: {_shown(place)} overlaps argument {other}, "
                    f"{_shown(beside)}; expected bytes of its own"
                )


def _read(arena: Arena, path: str, place: Range) -> Iterator[str]:
    if not arena.holds(*place):
        yield f"{path}: reads {_shown(place)}, expected bytes that were written before"


def _write(arena: Arena, path: str, place: Range) -> Iterator[str]:
    for what, kept in (("state", arena.states), ("constant", arena.fills)):
        if _meets(place, kept):
            yield f"{path}: {_shown(place)} overwrites a {what}, expected another place"
    arena.write(*place)


def _meets(place: Range, others: list[Range]) -> bool:
    return any(place[0] < end and begin < place[1] for begin, end in others)


def _shown(place: Range) -> str:
    return f"[{place[0]}, {place[1]})"
