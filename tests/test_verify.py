"""Each law of a program, broken once."""

from collections.abc import Callable
from random import Random
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given

from ir.graph import Graph, Node, Pair
from ir.ops import apply
from ir.type import Device, DType, IRError, TensorType
from ir.verify import WINDOW, verify
from tests.counts import cases
from tests.graphs import SEEDS, big_network, networks
from tests.op_cases import draw_program

VECTOR = TensorType((2,), DType.F32)


def leaf(name: str, op: str = "input", type: TensorType = VECTOR) -> Node:
    return apply(op, name=name, type=type)


def raw(op: str, *inputs: Node, name: str = "y", type: TensorType = VECTOR, **attrs: Any) -> Node:
    """A node that nobody has checked."""
    return Node(op, inputs, MappingProxyType(attrs), type, name)


X, W, S = leaf("x"), leaf("w", "param"), leaf("s", "state")
AWAY = leaf("away", type=VECTOR.on(Device(1)))
WIDE = leaf("wide", type=VECTOR.with_shape(3))


# ---------------------------------------------------------------------------- lawful programs


@cases(full=300, sample=30)
@given(graph=networks())
def test_networks_keep_the_laws(graph: Graph) -> None:
    verify(graph)


@cases(full=300, sample=30)
@given(seed=SEEDS)
def test_programs_of_any_ops_keep_the_laws(seed: int) -> None:
    verify(draw_program(Random(seed)))


@pytest.mark.parametrize("nodes", [50, 1000])
def test_the_big_network_is_as_big_as_asked(nodes: int) -> None:
    graph = big_network(nodes)
    verify(graph)
    assert abs(len(graph.nodes) - nodes) <= 12


# ---------------------------------------------------------------------------- broken nodes


@pytest.mark.parametrize(
    ("guilty", "complaint"),
    [
        (leaf("x"), "'x' is defined already, expected a new name"),
        (raw("relu", leaf("z")), "'z' is not defined above its use in 'y'"),
        (raw("relu", leaf("x")), "'x' is not defined above its use in 'y'"),
        (raw("rleu", X), "unknown op 'rleu', expected one of "),
        (raw("relu", X, X), "relu got 2 operands, expected x"),
        (raw("add", X, WIDE), "expected operands of one shape and dtype, got f32[2] and f32[3]"),
        (raw("add", X, AWAY), "add has operands on different devices: x: f32[2] and away: "),
        (raw("relu", WIDE), "'y' is written f32[2], expected f32[3], which relu gives"),
        (raw("relu", AWAY), "'y' is written f32[2], expected f32[2]@dev1, which relu gives"),
        (raw("scale", X), "scale needs attribute 'by', expected a number"),
        (raw("scale", X, by="2"), "scale: attribute 'by': expected a number, got \"2\""),
        (raw("relu", X, by=2.0), "relu has no attribute 'by', expected none"),
        (raw("transfer", AWAY, to=1), "f32[2]@dev1 is on dev1 already; expected another device"),
        (raw("relu", X, name="no name"), "expected a name of at most 128 letters"),
        (raw("dropout", X, X, X, p=0.5, stream=1), "expected the scalar u32[], got f32[2]"),
    ],
)
def test_a_broken_node_is_shown_in_its_place(guilty: Node, complaint: str) -> None:
    before, after = (X, W, AWAY, WIDE), leaf("later")
    graph = Graph("g", (*before, guilty, after), ())
    with pytest.raises(IRError) as caught:
        verify(graph)
    first, *shown = str(caught.value).splitlines()
    assert first.startswith(f"in graph g: {complaint}")
    marked = [line for line in shown if line.startswith(">")]
    assert marked == [line for line in shown if f" {guilty.name}: " in line][-1:]
    assert marked[0].split()[1] == "6"
    assert [line.split()[0] for line in shown if line not in marked] == ["2", "3", "4", "5", "7"]


def test_a_node_states_all_its_attributes() -> None:
    both = raw("concat", X, X, type=VECTOR.with_shape(4), axis=0)
    verify(Graph("g", (X, both), ()))
    cut = raw("slice", X, type=VECTOR, axis=0, size=2)
    with pytest.raises(IRError, match="'y' has the attributes axis=0, size=2, expected axis=0, s"):
        verify(Graph("g", (X, cut), ()))


def test_the_window_shows_the_neighbours_only() -> None:
    leaves = [leaf(f"x{i}") for i in range(30)]
    leaves[15] = raw("relu", WIDE, name="wrong")
    with pytest.raises(IRError) as caught:
        verify(Graph("g", tuple(leaves), ()))
    shown = str(caught.value).splitlines()[1:]
    assert [int(line[1:].split()[0]) for line in shown] == [*range(17 - WINDOW, 18 + WINDOW)]
    assert shown[WINDOW] == ">    17  wrong: f32[2] = relu(wide)"


# ---------------------------------------------------------------------------- broken results

Break = Callable[[], Graph]


def graph(**parts: Any) -> Graph:
    return Graph("g", (X, W, S, WIDE), **{"outputs": (), **parts})


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (graph(outputs=(leaf("x"),)), "result 'x' is not one of its nodes"),
        (graph(outputs=(leaf("z"),)), "result 'z' is not one of its nodes"),
        (graph(gradients=(Pair(W, leaf("z")),)), "result 'z' is not one of its nodes"),
        (graph(updates=(Pair(leaf("w", "param"), X),)), "result 'w' is not one of its nodes"),
        (graph(notes={"at": {AWAY: 1}}), "result 'away' is not one of its nodes"),
        (graph(notes={"no name": {}}), "expected a name of at most 128 letters"),
        (graph(gradients=(Pair(X, X),)), "'x' is 'input', expected a param to have a gradient"),
        (graph(gradients=(Pair(S, S),)), "'s' is 'state', expected a param to have a gradient"),
        (graph(gradients=(Pair(W, WIDE),)), "gradient of 'w' has type f32[3], expected f32[2]"),
        (graph(gradients=(Pair(W, X), Pair(W, S))), "'w' has a second gradient, expected one"),
        (graph(updates=(Pair(X, X),)), "'x' is 'input', expected a param or state to update"),
        (graph(updates=(Pair(S, WIDE),)), "update of 's' has type f32[3], expected f32[2]"),
        (graph(updates=(Pair(S, X), Pair(S, W))), "'s' has a second update, expected one"),
    ],
)
def test_a_broken_result_is_named(broken: Graph, complaint: str) -> None:
    with pytest.raises(IRError) as caught:
        verify(broken)
    assert complaint in str(caught.value)


NARROW = VECTOR.with_dtype(DType.BF16)


def copy(name: str = "c", of: str = "w", type: TensorType = NARROW, **piece: Any) -> Node:
    return apply("state", name=name, type=type, copies=of, **piece)


C, NEW = copy(), raw("add", X, W, name="new")
CAST = raw("cast", NEW, name="cast", type=NARROW, to="bf16")
OTHER = raw("cast", X, name="other", type=NARROW, to="bf16")


@pytest.mark.parametrize("updates", [(), (Pair(W, NEW), Pair(C, CAST))])
def test_a_copy_is_updated_with_its_parameter(updates: tuple[Pair, ...]) -> None:
    verify(Graph("g", (X, W, C, NEW, CAST), (), updates=updates))


@pytest.mark.parametrize(
    ("leaf", "updates", "complaint"),
    [
        (copy(of="x"), (), "'c' copies 'x', expected a param of that logical name"),
        (copy(of="s"), (), "'c' copies 's', expected a param of that logical name"),
        (copy(of="z"), (), "'c' copies 'z', expected a param of that logical name"),
        (copy("d"), (), "'c' copies 'w', expected a param of that logical name, the same piece"),
        (copy(type=NARROW.on(Device(1))), (), "the same piece on the same device"),
        (copy(type=NARROW.with_shape(3)), (), "the same piece on the same device"),
        (copy(whole=(4,), offset=(2,)), (), "the same piece on the same device"),
        (C, (Pair(W, NEW),), "'c' copies 'w', expected the two to be updated together"),
        (C, (Pair(C, CAST),), "'c' copies 'w', expected the two to be updated together"),
        (C, (Pair(W, NEW), Pair(C, OTHER)), "the copy with a cast of the other's next value"),
    ],
)
def test_a_copy_that_is_none_is_named(
    leaf: Node, updates: tuple[Pair, ...], complaint: str
) -> None:
    leaves = dict.fromkeys((X, W, S, C, leaf)) if leaf.name != "c" else (X, W, S, leaf)
    with pytest.raises(IRError) as caught:
        verify(Graph("g", (*leaves, NEW, CAST, OTHER), (), updates=updates))
    assert complaint in str(caught.value)


def test_what_is_trusted_is_not_typed_again() -> None:
    wrong = raw("relu", WIDE)
    graph = Graph("g", (WIDE, wrong), ())
    verify(graph, trusted={wrong})
    with pytest.raises(IRError):
        verify(graph, trusted={WIDE})
