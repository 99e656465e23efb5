"""grad: derivatives of whole programs."""

import numpy as np
import pytest
from hypothesis import given

from ir.eval import run_graph
from ir.graph import Graph, ancestors
from ir.text import parse
from ir.type import IRError
from passes.context import Context
from passes.pipeline import run_passes
from tests.counts import cases
from tests.graphs import feeds, networks
from tests.models import SMALL


def with_gradients(graph: Graph) -> Graph:
    return run_passes(graph, ("grad",), Context(1))


@cases(full=200, sample=25)
@given(networks(differentiable=True))
def test_gradients_equal_differences_in_one_direction(graph: Graph) -> None:
    start, random = feeds(graph), np.random.default_rng(0)
    slopes = run_graph(with_gradients(graph), start).gradients
    direction = {name: random.standard_normal(g.shape) for name, g in slopes.items()}
    inner = sum(float((slopes[name] * d).sum()) for name, d in direction.items())

    def loss(step: float) -> float:
        moved = {name: start[name] + step * d for name, d in direction.items()}
        return float(run_graph(graph, {**start, **moved}).outputs["loss"])

    size = sum(float(np.abs(slopes[name] * d).sum()) for name, d in direction.items())
    errors = [
        abs((loss(h) - loss(-h)) / (2 * h) - inner) / max(size, 1e-3) for h in (1e-6, 1e-7, 1e-5)
    ]
    # A kink between the two points spoils one step width, not all of them.
    assert min(errors) < 1e-6, errors


@cases(full=200, sample=25)
@given(networks())
def test_nothing_is_computed_that_no_parameter_needs(graph: Graph) -> None:
    result = with_gradients(graph)
    needed = ancestors(result.results)
    added = set(result.nodes) - set(graph.nodes)
    assert all(node in needed for node in added if node.op != "constant")


def test_the_first_layer_has_no_data_gradient() -> None:
    graph = with_gradients(SMALL["paper"]())
    assert [node.op for node in graph.nodes].count("conv_dw") == 5
    assert [node.op for node in graph.nodes].count("conv_dx") == 4


def test_a_parameter_the_loss_does_not_read_has_no_gradient() -> None:
    graph = parse(
        """graph g {
          x: f32[2,3] = input()
          labels: i32[2] = input(below=3)
          weights: f32[2] = input()
          w: f32[3,3] = param(std=1)
          unread: f32[2,3] = param(std=1)
          y: f32[2,3] = dense(x, w)
          loss: f32[] = cross_entropy(y, labels, weights)
          output loss, unread
        }"""
    )
    assert [pair.leaf.name for pair in with_gradients(graph).gradients] == ["w"]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ("", "expects the first output to be a loss of type f32\\[\\], got no output"),
        ("output y", "got y: f32\\[2,3\\]"),
    ],
)
def test_a_program_without_a_loss_is_refused(outputs: str, message: str) -> None:
    graph = parse(f"graph g {{\n y: f32[2,3] = param(std=1)\n {outputs}\n}}")
    with pytest.raises(IRError, match=message):
        with_gradients(graph)


def test_an_op_without_a_rule_says_why() -> None:
    graph = parse(
        """graph g {
          w: f32[2,3] = param(std=1)
          labels: i32[2] = input(below=3)
          weights: f32[2] = input()
          top: f32[] = accuracy(w, labels, weights)
          output top
        }"""
    )
    with pytest.raises(
        IRError, match=r"'top' \(accuracy\) has no gradient for operand 'logits': a"
    ):
        with_gradients(graph)
