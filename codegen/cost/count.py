"""How many instructions a kernel executes, counted in its loops without running it.

A loop whose iterations are alike counts one of them; others are walked, and what depends on the
same values is counted once. Of a long loop some iterations, spread evenly, stand for all. What
depends on the contents of memory counts as if it were executed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx

from codegen.cost.control import Control, Unknown, Values, control
from codegen.cost.instructions import Straight
from ir.plan import Work

Counts = npt.NDArray[np.float64]
"""Of each kind of instruction, in the order of the fields of `Work`."""

SAMPLES = 512
"""Iterations of a loop that are looked at."""
GOLDEN = (5**0.5 - 1) / 2


def work(function: Any) -> Work:
    """What a kernel does on one thread, all tasks together."""
    values = {str(param.name): 1 for param in function.params}
    found = _Tree(set(values)).statement(function.body)
    return Work(*map(round, _evaluate(found, values, {}).tolist()))


# ------------------------------------------------------------------------------- evaluation


@dataclass(frozen=True)
class _Block:
    """What is executed once: instructions, then other statements; `free` decides their number."""

    counts: Counts
    inner: tuple["_Part", ...]
    free: frozenset[str]


@dataclass(frozen=True)
class _Loop:
    var: str
    extent: Control
    body: _Block
    free: frozenset[str]


@dataclass(frozen=True)
class _Branch:
    condition: Control
    body: _Block
    free: frozenset[str]


@dataclass(frozen=True)
class _Let:
    """A variable, and all that follows in its block."""

    var: str
    value: Control
    rest: _Block
    free: frozenset[str]


_Part = _Block | _Loop | _Branch | _Let
_Known = dict[tuple[object, ...], Counts]


def _evaluate(part: _Part, values: Values, known: _Known) -> Counts:
    key = (id(part), *(values[name] for name in sorted(part.free)))
    if key not in known:
        known[key] = _fresh(part, values, known)
    return known[key]


def _fresh(part: _Part, values: Values, known: _Known) -> Counts:
    match part:
        case _Block(counts, inner):
            return sum((_evaluate(each, values, known) for each in inner), start=counts)
        case _Branch(condition, body):
            return _evaluate(body, values, known) * bool(condition.value(values))
        case _Let(var, value, rest):
            return _evaluate(rest, {**values, var: value.value(values)}, known)
        case _Loop(var, extent, body):
            count = max(0, extent.value(values))
            if var not in body.free:
                return _evaluate(body, values, known) * count if count else _none()
            chosen = _some(count)
            each = (_evaluate(body, {**values, var: i}, known) for i in chosen)
            return sum(each, start=_none()) * (count / max(1, len(chosen)))


def _some(count: int) -> Sequence[int]:
    """All iterations of a loop, or some that no regular pattern can fool."""
    if count <= SAMPLES:
        return range(count)
    return [int(count * (place * GOLDEN % 1)) for place in range(SAMPLES)]


def _none() -> Counts:
    return np.zeros(len(Work.__struct_fields__))


# ------------------------------------------------------------------------------- from TVM


class _Tree:
    """Makes of a kernel's statements what decides how often they are executed.

    `bound` are variables whose values are known when statements are counted.
    """

    def __init__(self, bound: set[str]) -> None:
        self._bound = bound
        self._lane: Any = None
        self._registers: set[Any] = set()

    def statement(self, statement: Any) -> _Block:
        """One statement, or a sequence of them."""
        many = isinstance(statement, tirx.SeqStmt)
        return self._block(list(statement.seq) if many else [statement])

    def _block(self, statements: Sequence[Any]) -> _Block:
        straight, parts = Straight(self._registers, self._lane), list[_Part]()
        for place, each in enumerate(statements):
            if (var := self._variable(each)) and (value := self._known(each.value)):
                parts.append(self._let(var, value, statements[place + 1 :]))
                break
            if isinstance(each, tirx.AllocBuffer):
                self._registers.add(each.buffer)
            elif isinstance(each, tirx.For | tirx.IfThenElse | tirx.AttrStmt | tirx.SeqStmt):
                parts += self._nested(each)
            else:
                straight.add(each)
        return _joined(straight.counts, parts)

    def _variable(self, statement: Any) -> str | None:
        """The variable that a statement sets for the rest of its block."""
        if isinstance(statement, tirx.Bind):
            return str(statement.var.name)
        if isinstance(statement, tirx.BufferStore) and statement.buffer in self._registers:
            whole = str(statement.value.ty) == "int32" and list(statement.buffer.shape) == [1]
            return str(statement.buffer.name) if whole else None
        return None

    def _let(self, var: str, value: Control, rest: Sequence[Any]) -> _Part:
        self._bound.add(var)
        block = self._block(rest)
        if var not in block.free:
            return block
        return _Let(var, value, block, (block.free - {var}) | value.free)

    def _nested(self, statement: Any) -> list[_Part]:
        if isinstance(statement, tirx.For):
            return [self._loop(statement)]
        if isinstance(statement, tirx.IfThenElse):
            return self._branches(statement)
        return [self.statement(getattr(statement, "body", statement))]

    def _loop(self, loop: Any) -> _Part:
        var, extent = str(loop.loop_var.name), self._known(loop.extent)
        if loop.kind == tirx.ForKind.VECTORIZED:
            self._lane = loop.loop_var
            body = self.statement(loop.body)
            self._lane = None
            return body
        if extent is None:
            return self.statement(loop.body)
        self._bound.add(var)
        body = self.statement(loop.body)
        return _Loop(var, extent, body, (body.free - {var}) | extent.free)

    def _branches(self, branch: Any) -> list[_Part]:
        condition = self._known(branch.condition)
        then = self.statement(branch.then_case)
        if condition is None:
            return [then]
        parts: list[_Part] = [_Branch(condition, then, then.free | condition.free)]
        if branch.else_case is not None:
            test = condition.value
            opposite = Control(lambda values: not test(values), condition.free)
            other = self.statement(branch.else_case)
            parts.append(_Branch(opposite, other, other.free | condition.free))
        return parts

    def _known(self, expr: Any) -> Control | None:
        """An integer expression that does not depend on what is in memory."""
        try:
            found = control(expr)
        except Unknown:
            return None
        return found if found.free <= self._bound else None


def _joined(counts: Counts, parts: Sequence[_Part]) -> _Block:
    return _Block(counts, tuple(parts), frozenset().union(*(part.free for part in parts)))
