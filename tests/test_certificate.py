"""certificate: the bound is what the best placement moves."""

from itertools import product
from random import Random

import pytest
from hypothesis import given

from ir.graph import Graph, Node
from ir.text import parse
from ir.type import Device
from passes.certificate import STATEFUL, certify
from passes.context import Context
from passes.fed import fed_values
from passes.pipeline import run_passes
from tests.counts import cases
from tests.graphs import SEEDS, networks, random_graph
from tests.models import SMALL, SOME

UNTIL = ("split", "place", "transfer", "grad", "sgd", "simplify")
MOST_FREE = 11


def program(graph: Graph, devices: int = 2) -> Graph:
    return run_passes(graph, UNTIL, Context(devices))


def bytes_moved(tensors: dict[Node, set[Node]], where: dict[Node, Device]) -> int:
    """What a placement on two devices moves: every tensor whose members are parted, once."""
    return sum(
        tensor.type.bytes
        for tensor, members in tensors.items()
        if len({where[member] for member in members}) > 1
    )


def tensors_of(graph: Graph) -> dict[Node, set[Node]]:
    """Each tensor with everyone who makes or reads it, transfers left out."""
    fed = fed_values(graph)
    found: dict[Node, set[Node]] = {}
    for node in graph.nodes:
        if node in fed or node.op == "transfer":
            continue
        found.setdefault(node, set()).add(node)
        for operand in node.inputs:
            while operand.op == "transfer":
                operand = operand.inputs[0]
            if operand not in fed:
                found.setdefault(operand, set()).add(node)
    return found


@cases(full=60, sample=12)
@given(SEEDS)
def test_no_placement_moves_fewer_bytes(seed: int) -> None:
    graph = program(random_graph(Random(seed), layers=1))
    tensors = tensors_of(graph)
    pinned = {
        node: node.device
        for node in tensors
        if node.device and (node.op in STATEFUL or any(o.op in STATEFUL for o in node.inputs))
    }
    free = [node for node in tensors if node not in pinned]
    if len(free) > MOST_FREE or len(graph.devices()) < 2:
        return
    best = min(
        bytes_moved(tensors, {**pinned, **dict(zip(free, choice, strict=True))})
        for choice in product(graph.devices(), repeat=len(free))
    )
    assert certify(graph).bound == best


@cases(full=200, sample=10)
@given(networks())
def test_the_bound_holds(graph: Graph) -> None:
    for devices in (1, 2, 4):
        certificate = certify(program(graph, devices))
        assert 0 <= certificate.bound <= certificate.moved
        assert certificate.exact == (len(program(graph, devices).devices()) <= 2)


@pytest.mark.parametrize("model", SOME)
def test_the_bound_holds_for_models(model: str) -> None:
    for devices in (2, 4):
        certificate = certify(program(SMALL[model](), devices))
        assert certificate.bound <= certificate.moved


def test_one_device_moves_nothing() -> None:
    certificate = certify(program(SMALL["paper"](), 1))
    assert (certificate.moved, certificate.bound) == (0, 0)


def test_whoever_reads_a_parameter_stays_with_it() -> None:
    # Sending the small bias would be cheaper than the large value, but it is no transfer's to send.
    graph = parse(
        """graph g {
          x: f32[64,8]@dev0 = input()
          v: f32[8,8]@dev0 = param(std=1)
          a: f32[64,8]@dev0 = dense(x, v)
          a.to1: f32[64,8]@dev1 = transfer(a, to=1)
          b: f32[8]@dev1 = param(std=1)
          c: f32[64,8]@dev1 = bias_add(a.to1, b)
          output c
        }"""
    )
    certificate = certify(graph)
    assert certificate.bound == certificate.moved == 64 * 8 * 4


def test_a_bad_placement_is_found_out() -> None:
    # relu makes nothing smaller; parting it from its neighbours moves two tensors, not one.
    graph = parse(
        """graph g {
          x: f32[2,8]@dev0 = input()
          v: f32[8,8]@dev0 = param(std=1)
          a: f32[2,8]@dev0 = dense(x, v)
          a.to1: f32[2,8]@dev1 = transfer(a, to=1)
          b: f32[2,8]@dev1 = relu(a.to1)
          b.to0: f32[2,8]@dev0 = transfer(b, to=0)
          w: f32[4,8]@dev0 = param(std=1)
          c: f32[2,4]@dev0 = dense(b.to0, w)
          u: f32[4,4]@dev1 = param(std=1)
          c.to1: f32[2,4]@dev1 = transfer(c, to=1)
          d: f32[2,4]@dev1 = dense(c.to1, u)
          output d
        }"""
    )
    certificate = certify(graph)
    assert certificate.moved == 2 * (8 + 8 + 4) * 4
    assert certificate.bound == 2 * 4 * 4
