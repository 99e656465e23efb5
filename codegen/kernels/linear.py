"""Small constant matrices times vectors of lanes, written out."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

from codegen.kernels.minimal import Matrix
from codegen.kernels.writer import Writer
from codegen.loops import Expr

Vector = Expr | None
"""A vector of lanes; None stands for zero."""


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
            even, odd = (w.once(_sum(w, columns, part)) for part in (same, rest))
            results |= {one: even + odd, other: even - odd}
    for number, row in enumerate(rows):
        results.setdefault(number, _sum(w, columns, row) if row else None)
    return [results[number] for number in range(len(rows))]


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
        columns[one], columns[other] = w.once(total), w.once(difference)
        for row, (a, b) in zip(rows, pairs, strict=True):
            row.pop(other if a == b else one, None)
            if a and a != b:
                row[other] = Fraction(a)


def _opposite(one: dict[int, Fraction], other: dict[int, Fraction]) -> bool:
    """Whether two rows are alike but for the signs of some, not of all."""
    if one.keys() != other.keys() or any(abs(one[i]) != abs(other[i]) for i in one):
        return False
    return 0 < sum(one[i] == other[i] for i in one) < len(one)


def _sum(w: Writer, columns: dict[int, Expr], row: dict[int, Fraction]) -> Expr:
    """Terms that need no multiplication come first; the others are fused multiply-adds."""
    total: Expr = None
    for i, c in sorted(row.items(), key=lambda term: (term[1] != 1, term[1] != -1)):
        if total is None:
            total = columns[i] if c == 1 else w.everywhere(float(c)) * columns[i]
        elif abs(c) == 1:
            total = total + columns[i] if c == 1 else total - columns[i]
        else:
            total = total + w.everywhere(float(c)) * columns[i]
    return total
