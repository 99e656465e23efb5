"""A thread's positions: some neighbours along axis 1, which share what they look at."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from codegen.kernels import writer
from codegen.kernels.cuda.writer import Writer
from codegen.kernels.writer import Lane, Rule
from codegen.loops import Expr
from ir.graph import Node

Index = Expr | Lane
Made = TypeVar("Made")


class Column:
    """The positions first .. first + count - 1 along axis 1; the other indices are one thread's.

    What a rule makes for one of them by `once`, the others find there.
    """

    def __init__(
        self, w: Writer, rules: dict[str, Rule], at: Sequence[Index], count: int = 1
    ) -> None:
        """`at` is the position of the first."""
        self.count = count
        self.at: tuple[Any, ...] = tuple(at)
        self._values: dict[Hashable, Any] = {}
        self.positions = [Position(w, rules, self._beside(i), self, i) for i in range(count)]

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, made for the first who asks."""
        if key not in self._values:
            self._values[key] = make()
        made: Made = self._values[key]
        return made

    def _beside(self, number: int) -> tuple[Index, ...]:
        if not number:
            return self.at
        block, first, *rest = self.at
        return (block, first + number, *rest)


class Position(writer.Position):
    """One of them; `number` counts from the first."""

    writer: Writer

    def __init__(
        self,
        w: Writer,
        rules: dict[str, Rule],
        at: Sequence[Index],
        column: Column | None = None,
        number: int = 0,
    ) -> None:
        super().__init__(w, rules, at)
        self._column, self.number = column, number

    @property
    def column(self) -> Column:
        """Where this one is among others, or alone."""
        if self._column is None:
            self._column = Column(self.writer, self._rules, self.at)
        return self._column

    def elsewhere(self, at: Sequence[Index]) -> "Position":
        return Position(self.writer, self._rules, at)

    def operand(self, node: Node, place: int, *at: Index) -> Lane:
        """The operand of a node at (own block, *at), read anew."""
        return self.elsewhere((self.at[0], *at)).vector(node.inputs[place])
