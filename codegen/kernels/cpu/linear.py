"""Small constant matrices times vectors of lanes, stored in an array."""

from collections.abc import Callable, Sequence

from tvm import tirx

from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.writer import LANES, Writer
from codegen.kernels.linear import Vector, combined
from codegen.kernels.memory import Scratch
from codegen.kernels.minimal import Matrix
from codegen.loops import Expr

ZERO = tirx.Broadcast(tirx.const(0, "float32"), LANES)

At = Callable[[int], tuple[Expr, ...]]
"""Where a vector lies in an array, but for its lanes."""


def transform(
    w: Writer, matrix: Matrix, vectors: Sequence[Vector], array: Scratch, at: At, first: int = 0
) -> None:
    """array[at(first + i)] = (matrix @ vectors)[i]"""
    for i, vector in enumerate(combined(w, matrix, vectors), first):
        w.put(array, ZERO if vector is None else vector, *at(i), VECTOR)
