"""How far the results of a region may be from what it means: as far as rounding takes them."""

from math import sqrt

import numpy as np

from ir.cost import flops
from ir.eval import Feeds, Float, run_graph
from ir.graph import Graph, Node, ancestors
from ir.leaf import logical_name
from ir.op import Array
from ir.ops.precision import form_of
from ir.type import DType

EPSILON = 2.0**-23
UNIT = 2.0**-7
"""By how much a bf16 differs at most, relatively, where it was rounded the other way."""
TURNS = 4
"""Elements rounded the other way that the mean over a small value allows."""
MINIMAL = {"conv": 2e-5, "conv_dx": 2e-5, "conv_dw": 1e-4}
"""What minimal filtering may add, by the op."""


def meant(region: Graph, feeds: Feeds, precision: Float) -> dict[str, Array]:
    """What a region gives, by name: its outputs, then the states it updates."""
    results = run_graph(region, feeds, precision)
    return results.outputs | results.updates


def roundings(region: Graph) -> dict[str, int]:
    """How often numbers are rounded to bf16 on the way to each result, in the same order."""
    results = {node.name: node for node in region.outputs}
    results |= {logical_name(pair.leaf): pair.value for pair in region.updates}
    return {name: sum(map(_rounds, ancestors([node]))) for name, node in results.items()}


def _rounds(node: Node) -> bool:
    return node.type.dtype is DType.BF16 and bool(node.inputs)


def error(value: Array, expected: Array, roundings: int) -> float:
    """max |difference| / max |expected|; NaN where either is not finite.

    A sum that is a little off may be rounded to bf16 the other way, and differ by a whole unit;
    so much is taken off. But it seldom is: the mean of differences stays what it was before.
    """
    if not (np.isfinite(value).all() and np.isfinite(expected).all()):
        return float("nan")
    largest = np.max(np.abs(expected), initial=0.0) or 1.0
    apart = np.abs(value.astype(np.float64) - expected) / largest
    return float(max(np.max(apart, initial=0.0) - roundings * UNIT, np.mean(apart)))


def bound(region: Graph, result: Array, roundings: int, winograd: str = "none") -> float:
    """Of the error: 8 eps sqrt(K), where K operations lead to one element; exact for integers.

    Minimal filtering adds what it may (`MINIMAL`), and rounding to bf16 some elements.
    """
    if not all(node.type.dtype.is_float for node in region.outputs):
        return 0.0
    sums = 8 * EPSILON * sqrt(1 + sum(flops(n) / n.type.elements for n in region.nodes))
    more = 0.0 if winograd == "none" else max(map(_filtering, region.nodes))
    return sums + more + TURNS * roundings * UNIT / result.size


def _filtering(node: Node) -> float:
    """What minimal filtering may add, which is for f32 only."""
    return MINIMAL[node.op] if node.op in MINIMAL and form_of(node) == "f32" else 0.0
