"""The sum over images and pixels: lanes change from images to channels."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from tvm import tirx

from codegen.kernels.cpu.linear import ZERO
from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.transpose import transposed
from codegen.kernels.cpu.writer import LANES, Writer, blocks
from codegen.kernels.math import f32
from codegen.kernels.ranges import Range
from codegen.loops import Expr
from ir.graph import Node

STREAMS = 8
"""Sums of a lane, each waiting for itself only."""


class Sums:
    """The sums of a bias_dw; each is a register array."""

    def __init__(self, w: Writer, node: Node) -> None:
        self._w, self._node, self._dy = w, node, node.inputs[0]
        self._pixels = self._dy.type.shape[1 + node.type.rank :]

    def images(self, at: Sequence[Expr], some: Range) -> Any:
        """Of an element of the bias: in each lane its images in some blocks, all their pixels."""
        w, total = self._w, self._zero()
        with w.serial(some[1] - some[0], some[0]) as block:
            valid, pixels = w.valid_lanes(self._dy, block), self._all_pixels((block, *at))
            with w.lanes() as lane:
                kept = tirx.Select(lane < valid, pixels[lane], f32(0))
                w.store(total, total[lane] + kept, lane)
        return total

    def channels(self, block: Expr, images: Callable[[Expr], Expr]) -> Any:
        """In each lane a channel's sum over lanes, given these; zero beyond the last, as padding
        is."""
        rows, most = [], self._node.type.shape[0]
        for channel in (block * LANES + lane for lane in range(LANES)):
            rows.append(tirx.Select(channel < most, images(tirx.min(channel, most - 1)), ZERO))
        return self._register(added(transposed(self._w, rows)))

    def _all_pixels(self, at: Sequence[Expr]) -> Any:
        """Some pixels at a time, then those that are left over."""
        count = prod(self._pixels)
        sums = [self._zero() for _ in range(min(STREAMS, count))]
        full = count // len(sums) * len(sums)
        self._add(sums, at, (0, full))
        self._add(sums[:1], at, (full, count))
        return self._register(added([each[VECTOR] for each in sums]))

    def _add(self, sums: Sequence[Any], at: Sequence[Expr], some: Range) -> None:
        w, (begin, end) = self._w, some
        with w.serial((end - begin) // len(sums)) as i:
            for number, each in enumerate(sums):
                pixel = w.indices(begin + i * len(sums) + number, self._pixels)
                w.store(each, each[VECTOR] + w.load(self._dy, *at, *pixel, VECTOR), VECTOR)

    def _zero(self) -> Any:
        return self._register(ZERO)

    def _register(self, value: Expr) -> Any:
        register = self._w.local(LANES)
        self._w.store(register, value, VECTOR)
        return register


def added(terms: Sequence[Expr]) -> Expr:
    """The sum, in pairs: it rounds less."""
    half = len(terms) // 2
    return added(terms[:half]) + added(terms[half:]) if half else terms[0]


def _bias_dw(s: Stage) -> None:
    """Where other ops stand before it; else `bias_dw.py` has more tasks."""
    w, sums, most = s.writer, Sums(s.writer, s.node), s.node.type.shape[0]
    lanes = w.scratch(LANES, LANES)
    with s.every(*s.node.type.shape[1:]) as at:
        with w.serial(LANES) as channel:
            own = w.let(tirx.min(s.block * LANES + channel, most - 1))
            total = sums.images((own, *at), (0, blocks(s.node.inputs[0].type)))
            w.put(lanes, total[VECTOR], channel, VECTOR)
        total = sums.channels(s.block, lambda channel: lanes[channel - s.block * LANES, VECTOR])
        s.put(lambda lane: total[lane], *at)


MAKERS: dict[str, Maker] = {"bias_dw": _bias_dw}
