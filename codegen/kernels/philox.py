"""Philox 4x32-10 for a vector of element indices, word for word what `ir/ops/random.py` draws."""

from math import prod
from typing import Any

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.writer import Lane, Position
from codegen.loops import Expr
from ir.graph import Node

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF


def u64(value: int) -> Any:
    """A constant of 64 bits."""
    return tirx.const(value, "uint64")


def random_words(position: Position, node: Node) -> Lane:
    """One random word (held in 64 bits) for each lane of a dropout node's position."""
    w = position.writer
    element = w.held(lambda lane: _element(position, node, lane), "uint64")
    seed, step = (tirx.Cast("uint64", w.element(leaf)) for leaf in node.inputs[1:])
    words: list[Lane] = [
        w.held(lambda i: tirx.shift_right(element(i), u64(2)) & u64(_LOW), "uint64"),
        w.held(lambda i: tirx.shift_right(element(i), u64(34)), "uint64"),
        w.held(lambda i: step, "uint64"),
        w.held(lambda i: u64(0), "uint64"),
    ]
    stream = integer(node, "stream")
    for number in range(10):
        key = (
            (seed + u64(number * _WEYL[0] & _LOW)) & u64(_LOW),
            u64((stream + number * _WEYL[1]) & _LOW),
        )
        words = _round(position, words, key)
    return w.held(lambda i: _chosen(words, element(i) & u64(3), i), "uint64")


def _round(position: Position, words: list[Lane], key: tuple[Expr, Expr]) -> list[Lane]:
    w = position.writer
    c0, c1, c2, c3 = words
    p0 = w.held(lambda i: u64(_MULTIPLIERS[0]) * c0(i), "uint64")
    p1 = w.held(lambda i: u64(_MULTIPLIERS[1]) * c2(i), "uint64")
    return [
        w.held(lambda i: tirx.shift_right(p1(i), u64(32)) ^ c1(i) ^ key[0], "uint64"),
        w.held(lambda i: p1(i) & u64(_LOW), "uint64"),
        w.held(lambda i: tirx.shift_right(p0(i), u64(32)) ^ c3(i) ^ key[1], "uint64"),
        w.held(lambda i: p0(i) & u64(_LOW), "uint64"),
    ]


def _chosen(words: list[Lane], number: Expr, lane: Expr) -> Expr:
    chosen = words[3](lane)
    for place in (2, 1, 0):
        chosen = tirx.Select(number == u64(place), words[place](lane), chosen)
    return chosen


def _element(position: Position, node: Node, lane: Expr) -> Expr:
    """The row-major index of an element in the whole logical tensor."""
    if not node.type.shape:
        return u64(0)
    whole = node.attrs["whole"] or node.type.shape
    offset = node.attrs["offset"] or (0,) * node.type.rank
    assert isinstance(whole, tuple)
    assert isinstance(offset, tuple)
    block, *rest = position.index(lane)
    total: Expr = u64(0)
    for axis, index in enumerate((block * position.writer.width + lane, *rest)):
        along = tirx.Cast("uint64", index + offset[axis])
        total = total + along * u64(prod(whole[axis + 1 :]))
    return total
