"""The sum over images: lanes change from images to channels."""

from tvm import tirx

from codegen.kernels.cpu.stage import Maker, Stage, nested
from codegen.kernels.cpu.writer import LANES, Writer, blocks
from codegen.kernels.math import f32
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node


def _bias_dw(s: Stage) -> None:
    """Lane c of the result is the sum over images and trailing axes of channel c.

    One vector of images is summed for each of the 16 channels, and its lanes at last.
    """
    w, dy = s.writer, s.node.inputs[0]
    sums = w.scratch(LANES, LANES)
    with s.every(*s.node.type.shape[1:]) as at:
        with w.serial(LANES) as channel, w.lanes() as lane:
            w.put(sums, f32(0), channel, lane)
        with w.serial(w.valid_lanes(s.node, s.block)) as channel:
            images = _sum(w, dy, (s.block * LANES + channel, *at))
            with w.lanes() as lane:
                w.put(sums, images(lane), channel, lane)
        s.put(lambda lane: _in_pairs([sums[lane, image] for image in range(LANES)]), *at)


def _sum(w: Writer, dy: Node, at: tuple[Expr, ...]) -> Lane:
    """The sum over blocks and trailing axes of what lies under `at`, (channel, ...)."""
    total, part = w.local(LANES), w.local(LANES)
    with w.lanes() as lane:
        w.store(total, f32(0), lane)
    with w.serial(blocks(dy.type)) as block:
        with w.lanes() as lane:
            w.store(part, f32(0), lane)
        with nested(w, dy.type.shape[1 + len(at) :]) as inner, w.lanes() as lane:
            w.store(part, part[lane] + w.load(dy, block, *at, *inner, lane), lane)
        valid = w.valid_lanes(dy, block)
        with w.lanes() as lane:
            kept = tirx.Select(lane < valid, part[lane], f32(0))
            w.store(total, total[lane] + kept, lane)
    return lambda lane: total[lane]


def _in_pairs(terms: list[Expr]) -> Expr:
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


MAKERS: dict[str, Maker] = {"bias_dw": _bias_dw}
