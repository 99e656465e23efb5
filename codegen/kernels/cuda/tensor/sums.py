"""A tile of sums that stays in the registers of tensor cores' threads.

A warp has fragments of 16 rows and 8 columns. A thread with lane 4 g + q has, of each, columns 2 q
and 2 q + 1 of rows g and g + 8 (PTX ISA, "Matrix fragments for mma.m16n8k16" and "wgmma.m64nNk16").
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.cuda.operand import Part, Run
from codegen.kernels.cuda.tensor.ring import Ring, ThreadRing
from codegen.kernels.cuda.tensor.tile import COLUMNS, ROWS, WORD, TensorTile
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.math import f32
from codegen.kernels.writer import Lane
from codegen.loops import Expr


class TensorSums:
    """What a warp sums: `high` x `wide` fragments."""

    high: int
    ring: type[Ring] = ThreadRing
    behind = 1
    """Chunks whose products may still be under way when the copies of another one begin, and the
    one that is multiplied next."""

    def __init__(self, w: Writer, tile: TensorTile, runs: tuple[Run, Run], warp: Expr) -> None:
        self._w, self._tile = w, tile
        self._shared = w.allocate((tile.shared // WORD,), "float32", "shared.dyn")
        self._slab = warp * ROWS * tile.slab
        self._rings = [
            self.ring(w, tile, self._shared, place, runs[place], warp) for place in (0, 1)
        ]
        self._wide = tile.width * WARP // COLUMNS
        self._sums = w.local(4 * self.high * self._wide)
        with w.unrolled(4 * self.high * self._wide) as i:
            w.store(self._sums, f32(0), i)

    def add(self, part: Part) -> None:
        """Add all products of a part, a chunk at a time, while the next ones are on their way."""
        w, stages = self._w, self._tile.stages
        ahead = stages - self.behind
        with w.serial(ahead) as i:
            self._load(part, i)
        self._ready()
        with w.serial(part.end - part.begin) as i:
            slot = w.fixed(tirx.truncmod(i, stages))
            # This chunk has arrived, at all threads; and all are done with the one whose slot the
            # next copies take.
            w.call("wait_copies", ahead - 1)
            self._arrived(slot)
            w.barrier()
            self._load(part, i + ahead)
            self._multiply(slot)
        self._end()
        w.call("wait_copies", 0)
        w.barrier()

    def _load(self, part: Part, i: Expr) -> None:
        """Begin to copy chunk `i` of a part, if there is one."""
        w = self._w
        with w.when(part.begin + i < part.end):
            slot = w.fixed(tirx.truncmod(i, self._tile.stages))
            for ring, at in zip(self._rings, part.at(part.begin + i), strict=True):
                ring.load(slot, at)
        w.call("commit_copies")

    def _ready(self) -> None:
        """Have sums in registers."""

    def _arrived(self, slot: Expr) -> None:
        """What is to be done with this thread's part of a slot's chunk, once it is there."""

    def _multiply(self, slot: Expr) -> None:
        """Begin to add the products of a slot's chunk."""
        raise NotImplementedError

    def _end(self) -> None:
        """Wait for all products."""

    def _begin(self, i: Expr) -> tuple[Expr, Expr]:
        """The first row and block of columns, within the tile, of a warp's fragments `i`."""
        raise NotImplementedError

    @contextmanager
    def each(self, together: int) -> Iterator[tuple[Expr, Expr, Lane]]:
        """For each row and block of columns of the tile: these, and each lane's own sum.

        Sums go through shared memory, so that lanes are columns again: as many of a thread as have
        results `together`.
        """
        w, tile = self._w, self._tile
        with w.unrolled(self.high) as i:
            self._put(i)
            w.call("wait_warp")
            first, side = self._begin(i)
            with (
                w.spread(together) as own,
                w.serial(ROWS // together) as turn,
                w.serial(tile.width) as block,
            ):
                row = turn * together + own
                begin = self._slab + row * tile.slab + block * WARP + w.lane
                yield first + row, side + block, self._taken(begin)
            w.call("wait_warp")

    def _taken(self, begin: Expr) -> Lane:
        """The sums of a thread's lanes, from a word of shared memory on."""
        w = self._w
        held = w.local(w.lanes)
        with w.vector(w.lanes) as i:
            w.store(held, self._shared[begin + i], i)
        return lambda lane: held[w.own(lane)]

    def _put(self, i: Expr) -> None:
        """Store the warp's fragments of 16 rows."""
        w = self._w
        g, q = tirx.truncdiv(w.lane, 4), tirx.truncmod(w.lane, 4)
        with w.unrolled(self._wide) as j, w.unrolled(2) as half:
            place = self._slab + (g + 8 * half) * self._tile.slab + j * COLUMNS + 2 * q
            pair = 4 * (i * self._wide + j) + 2 * half
            to = w.address(self._shared, place, 2)
            w.call("put_pair", to, self._sums[pair], self._sums[pair + 1])
