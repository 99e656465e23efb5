"""Both steps of a transform of minimal filtering, in a thread's registers."""

from collections.abc import Callable
from typing import Any

from tvm import tirx

from codegen.kernels.cuda.operand import Element
from codegen.kernels.cuda.writer import Writer
from codegen.kernels.linear import combined
from codegen.kernels.math import f32
from codegen.kernels.minimal import Matrix
from codegen.kernels.winograd.side import Kind
from codegen.loops import Expr

WARPS = 4
"""Of a block of threads that transform: each needs many registers."""

Load = Callable[[Expr, Expr], Expr]
"""The value in a row and a column."""
Store = Callable[[Expr, Expr, Expr], None]
"""Keeps a value, given its row and column."""


def numbered(kinds: tuple[Kind, Kind], function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a product's row and column in a tile, for one of these kinds, which may lack
    the first: there they are counted from 0."""
    down, across = kinds
    return lambda i, j, *value: function(down.first + i, across.first + j, *value)


def transform(w: Writer, matrices: tuple[Matrix, Matrix], load: Load, store: Store) -> None:
    """down @ values @ across^T for every lane's own values, given (down, across)."""
    down, across = matrices
    rows, columns = len(down), len(across[0])
    half = w.local(rows * columns)
    with w.unrolled(columns) as j:
        vectors = [w.once(load(i, j)) for i in range(len(down[0]))]
        for i, value in enumerate(combined(w, down, vectors)):
            w.store(half, value, i * columns + j)
    with w.unrolled(rows) as i:
        vectors = [half[i * columns + j] for j in range(columns)]
        for j, value in enumerate(combined(w, across, vectors)):
            store(i, j, value)


def read(element: Element) -> Expr:
    """An element, or zero where it is not valid."""
    value = element.array[element.index]
    return tirx.if_then_else(tirx.all(*element.valid), value, f32(0)) if element.valid else value
