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
    """A block of so many warps, of which this thread is in number `warp`.

    Every thread must come to each of the calls, for they wait for all.
    """

    def __init__(self, w: Writer, warps: int, warp: Expr) -> None:
        self.writer, self.warps, self.warp = w, warps, warp

    def over_warps(self, value: Lane, combine: Combine) -> Lane:
        """Each lane's values of all warps, combined."""
        w = self.writer
        if self.warps == 1:
            return value
        array = w.shared(self.warps, WARP)
        w.store(array, value(w.lane), self.warp, w.lane)
        w.barrier()
        folded = w.register()
        folded.set(array[0, w.lane])
        with w.serial(self.warps - 1, 1) as warp:
            folded.set(combine(folded(w.lane), array[warp, w.lane]))
        return folded

    def over_lanes(self, value: Lane) -> Lane:
        """The sum over lanes of a value that all warps agree on."""
        w = self.writer
        array = w.shared(WARP)
        with w.when(self.warp == 0):
            w.store(array, value(w.lane), w.lane)
        w.barrier()
        return total(w, WARP, lambda lane: array[lane])
