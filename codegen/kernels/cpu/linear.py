"""Small constant matrices times vectors of lanes, written out."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations

from tvm import tirx

from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.writer import LANES, Writer
from codegen.kernels.memory import Scratch
from codegen.kernels.minimal import Matrix
from codegen.loops import Expr

Row = Sequence[Fraction]
Vector = Expr | None
"""A vector of lanes; None stands for zero."""


ZERO = tirx.Broadcast(tirx.const(0, "float32"), LANES)


def combined(w: Writer, matrix: Matrix, vectors: Sequence[Vector]) -> list[Vector]:
    """matrix @ vectors, each result ready to be stored.

    What two columns, then two rows, share but for signs is added up once.
    """
    columns = {i: v for i, v in enumerate(vectors) if v is not None}
    rows = [{i: row[i] for i in columns if row[i]} for row in matrix]
    _share_columns(w, columns, rows)
    results: dict[int, Vector] = {}
    for one, other in combinations(range(len(rows)), 2):
        if one not in results and other not in results and _opposite(rows[one], rows[other]):
            same = {i: c for i, c in rows[one].items() if rows[other][i] == c}
            rest = {i: c for i, c in rows[one].items() if i not in same}
            even, odd = (_let(w, _sum(columns, part)) for part in (same, rest))
            results |= {one: even + odd, other: even - odd}
    for number, row in enumerate(rows):
        results.setdefault(number, _sum(columns, row) if row else None)
    return [results[number] for number in range(len(rows))]


At = Callable[[int], tuple[Expr, ...]]
"""Where a vector lies in an array, but for its lanes."""


def transform(
    w: Writer, matrix: Matrix, vectors: Sequence[Vector], array: Scratch, at: At, first: int = 0
) -> None:
    """array[at(first + i)] = (matrix @ vectors)[i]"""
    for i, vector in enumerate(combined(w, matrix, vectors), first):
        w.put(array, ZERO if vector is None else vector, *at(i), VECTOR)


def operations(matrix: Matrix) -> int:
    """About how many instructions that takes: one for each product."""
    return sum(1 for row in matrix for c in row if c)


def _share_columns(w: Writer, columns: dict[int, Expr], rows: list[dict[int, Fraction]]) -> None:
    """Put the sum and the difference of two columns in their place where signs alone differ."""
    for one, other in combinations(list(columns), 2):
        if one not in columns or other not in columns:
            continue
        pairs = [(row.get(one, 0), row.get(other, 0)) for row in rows]
        signs = {a == b for a, b in pairs if a or b}
        if any(abs(a) != abs(b) for a, b in pairs) or len(signs) < 2:
            continue
        total, difference = columns[one] + columns[other], columns[one] - columns[other]
        columns[one], columns[other] = _let(w, total), _let(w, difference)
        for row, (a, b) in zip(rows, pairs, strict=True):
            row.pop(other if a == b else one, None)
            if a and a != b:
                row[other] = Fraction(a)


def _opposite(one: dict[int, Fraction], other: dict[int, Fraction]) -> bool:
    """Whether two rows are alike but for the signs of some, not of all."""
    if one.keys() != other.keys() or any(abs(one[i]) != abs(other[i]) for i in one):
        return False
    return 0 < sum(one[i] == other[i] for i in one) < len(one)


def _sum(columns: dict[int, Expr], row: dict[int, Fraction]) -> Expr:
    """Terms that need no multiplication come first; the others are fused multiply-adds."""
    total: Expr = None
    for i, c in sorted(row.items(), key=lambda term: (term[1] != 1, term[1] != -1)):
        if total is None:
            total = columns[i] if c == 1 else _constant(c) * columns[i]
        elif abs(c) == 1:
            total = total + columns[i] if c == 1 else total - columns[i]
        else:
            total = total + _constant(c) * columns[i]
    return total


def _constant(value: Fraction) -> Expr:
    return tirx.Broadcast(tirx.const(float(value), "float32"), LANES)


def _let(w: Writer, value: Expr) -> Expr:
    return w.let(value, f"float32x{LANES}")
