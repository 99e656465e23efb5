"""What the threads of a block find out together, through shared memory and in a fixed order."""

from collections.abc import Callable

from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.math import f32
from codegen.kernels.writer import Lane
from codegen.loops import Expr

Combine = Callable[[Expr, Expr], Expr]


def total(w: Writer, count: Expr, term: Callable[[Expr], Expr]) -> Lane:
    """The sum of term(0) ... term(count - 1), by one thread."""
    added = w.register()
    added.set(f32(0))
    with w.serial(count) as number:
        added.set(lambda lane: added(lane) + term(number))
    return added


class Block:
    """A block of so many rows of threads, of which this thread is in number `row`.

    Every thread must come to each of the calls, for they wait for all.
    """

    def __init__(self, w: Writer, rows: int, row: Expr) -> None:
        self.writer, self.rows, self.row = w, rows, row

    def over_rows(self, value: Lane, combine: Combine) -> Lane:
        """Each lane's values of all rows, combined."""
        w = self.writer
        if self.rows == 1:
            return value
        array = w.shared(self.rows, WARP)
        with w.each_lane() as lane:
            w.store(array, value(lane), self.row, lane)
        w.barrier()
        folded = w.register()
        folded.set(lambda lane: array[0, lane])
        with w.serial(self.rows - 1, 1) as row:
            folded.set(lambda lane: combine(folded(lane), array[row, lane]))
        return folded

    def over_lanes(self, value: Lane) -> Lane:
        """The sum over lanes of a value that all rows agree on."""
        w = self.writer
        array = w.shared(WARP)
        with w.when(self.row == 0), w.each_lane() as lane:
            w.store(array, value(lane), lane)
        w.barrier()
        return total(w, WARP, lambda lane: array[lane])
