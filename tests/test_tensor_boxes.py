"""Contractions whose operands the GPU copies as boxes (TMA) equal the oracle."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.kernels.cuda.folded import FoldedConv
from codegen.kernels.cuda.sliding import SlidingDw
from codegen.kernels.cuda.writer import Built
from ir.graph import Graph, Node
from ir.ops import apply
from ir.plan import TensorMap
from tests.counts import cases, sampled
from tests.graphs import SEEDS
from tests.kernels import Kernel
from tests.test_contractions import OPS, large, with_epilogue
from tests.test_tensor_contractions import TARGETS, any_tile, check, draw_large, emulated, in_form

FULL = (32, 64)
"""Images that fill blocks."""
SOME = (3, 32, 70, 128)
FOLDED = ((2, 1), (4, 4))
"""Strides whose patches fill chunks."""


def _even(op: str, rng: Random) -> Node:
    """Sums never reach padding, nor rows the maps of another group."""
    features, maps = ((17, 64), (300, 32), (64, 160)), ((32, 32), (32, 64), (64, 32))
    if op == "conv_dw":
        maps = ((24, 40), (48, 32), (32, 70))
    return large(op, rng, FULL if op.endswith("_dw") else SOME, features, maps)


def _kept(op: str, rng: Random) -> Node:
    """Sums reach padding of a weight that is kept, which is zero."""
    features, maps = ((17, 70), (300, 10)), ((32, 20), (7, 40))
    node = _first(lambda: large(op, rng, SOME, features, maps), lambda x: _groups(x) == 1)
    weight, dy = node.inputs
    attrs: dict[str, Any] = dict(node.attrs)
    return apply(op, apply("param", name="w0", type=weight.type), dy, name=op, **attrs)


def _whole(op: str, rng: Random) -> Node:
    """All maps and taps of a window are rows of one box."""
    return large(op, rng, FULL, maps=((3, 20), (7, 40), (1, 96)))


def _folded(op: str, rng: Random) -> Node:
    """Patches of few maps are boxes, and fill chunks; or there is no other group."""

    def holds(node: Node) -> bool:
        maps, stride = node.inputs[1].type.shape[1], node.attrs["stride"]
        return (stride == (4, 4) and maps == 1) or (stride in FOLDED and _groups(node) == 1)

    maps = ((3, 20), (3, 96), (1, 32), (5, 64))
    return _first(lambda: large(op, rng, SOME, maps=maps), holds)


def _sliding(op: str, rng: Random) -> Node:
    """Pixels of x are met through several taps."""
    maps = ((24, 40), (48, 32), (8, 70))

    def holds(node: Node) -> bool:
        stride: Any = node.attrs["stride"]
        return bool(node.type.shape[3] > stride[1])

    return _first(lambda: large(op, rng, FULL, maps=maps), holds)


def _first(draw: Callable[[], Node], holds: Callable[[Node], bool]) -> Node:
    return next(node for node in iter(draw, None) if holds(node))


def _groups(node: Node) -> Any:
    return node.attrs.get("groups", 1)


Draw = Callable[[str, Random], Node]
BOXED: list[tuple[Draw, str, str]] = [
    *((_even, op, "bf16") for op in OPS if not op.startswith("local")),
    *((_even, op, "tf32") for op in ("conv_dw", "dense_dw")),
    *((_kept, op, "bf16") for op in ("conv_dx", "dense_dx")),
    *((_whole, op, form) for op in ("conv_dw", "local_dw") for form in ("bf16", "tf32")),
    (_folded, "conv", "bf16"),
    *((_sliding, "conv_dw", form) for form in ("bf16", "tf32")),
]
"""How operands are drawn that lie in boxes, the contraction, and its form."""


def draw_boxed(draw: Draw, op: str, form: str, rng: Random) -> Graph:
    """One of them, and something that follows it."""
    node = in_form(draw(op, rng), form)
    return with_epilogue(node, node.inputs, rng)


@emulated
@pytest.mark.parametrize(
    ("draw", "op", "form"),
    sampled(
        BOXED,
        (_even, "conv", "bf16"),
        (_kept, "dense_dx", "bf16"),
        (_whole, "conv_dw", "tf32"),
        (_folded, "conv", "bf16"),
        (_sliding, "conv_dw", "bf16"),
    ),
)
@cases(full=12, sample=1)
@given(seed=SEEDS, drawn=st.booleans())
def test_what_lies_in_boxes_is_copied_so(
    draw: Draw, op: str, form: str, seed: int, drawn: bool
) -> None:
    """Whatever its tile, groups, strides and padding."""
    rng = Random(seed)
    with any_tile(rng) if drawn else nullcontext(), preferred(rng):
        graph = draw_boxed(draw, op, form, rng)
        assert maps_of(graph)
        check(graph, rng, "groups")


@contextmanager
def preferred(rng: Random) -> Iterator[None]:
    """Kernels for boxes that are chosen by their cost are, in any form that is possible."""
    with ExitStack() as stack:
        for kernel in (FoldedConv, SlidingDw):
            cost = property(lambda kernel: -rng.random())
            stack.enter_context(patch.object(kernel, "cost", cost))
        yield


@pytest.mark.parametrize("op", OPS)
@cases(full=30, sample=3)
@given(seed=SEEDS)
def test_nothing_else_is(op: str, seed: int) -> None:
    """Where chunks would go on in the next group, or sums read padding that may be NaN."""
    rng = Random(seed)
    graph = draw_large(op, "bf16", rng)
    node = next(node for node in graph.nodes if node.op == op)
    assert is_even(node) or not maps_of(graph)


def maps_of(graph: Graph) -> tuple[TensorMap, ...]:
    """What the kernel copies boxes of."""
    built = Kernel(graph, TARGETS["groups"]).built
    assert isinstance(built, Built)
    return built.maps


def is_even(node: Node) -> bool:
    """Whether sums never reach padding: what lies along them fills blocks, or half of them."""
    blocks = {"_dw": 32, "_dx": 16}.get(node.op[-3:], 1)
    return node.op not in ("local", "local_dx") and node.inputs[0].type.shape[0] % blocks == 0
