"""fuse: regions are a partition without cycles, and hold what belongs together."""

from itertools import groupby

import networkx as nx
import pytest
from hypothesis import given

from frontend.alexnet import alexnet
from ir.graph import Graph
from ir.op import Fusion
from ir.ops import row_of
from ir.text import parse
from ir.type import IRError
from passes.context import Context
from passes.fuse import fuse
from passes.pipeline import EVALUATE, TRAIN, run_passes
from tests.counts import cases
from tests.graphs import networks
from tests.models import SMALL

UNTIL_FUSE = TRAIN[: TRAIN.index("fuse") + 1]


def fused(graph: Graph, devices: int = 2) -> Graph:
    return run_passes(graph, UNTIL_FUSE, Context(devices))


def waits(graph: Graph) -> "nx.DiGraph[int]":
    """Regions, with an edge from each to those that must come after it."""
    region, uses = graph.note("region"), graph.uses()
    order: nx.DiGraph[int] = nx.DiGraph()
    order.add_nodes_from(region.values())
    pairs = [(o, n) for n in region for o in n.inputs]
    pairs += [(r, p.value) for p in graph.updates for r in uses[p.leaf]]
    for before, after in pairs:
        if before in region and region[before] != region[after]:
            order.add_edge(region[before], region[after])
    return order


def check_laws(graph: Graph) -> None:
    region = graph.note("region")
    work = {node for node in graph.nodes if not row_of(node).is_leaf}
    assert set(region) == work
    members: dict[int, list[Fusion]] = {}
    for node in graph.nodes:
        if node in region:
            members.setdefault(region[node], []).append(row_of(node).fusion)
    assert len({(r, n.device) for n, r in region.items()}) == len(members)
    for kinds in members.values():
        assert kinds.count(Fusion.ANCHOR) + kinds.count(Fusion.REDUCE) <= 1
        assert len(kinds) == 1 or Fusion.COPY not in kinds
        assert kinds.count(Fusion.WINDOW) <= 2
        assert Fusion.ANCHOR not in kinds[1:]
    assert nx.is_directed_acyclic_graph(waits(graph))


@cases(full=200, sample=30)
@given(networks())
def test_laws_on_generated_programs(graph: Graph) -> None:
    for devices in (1, 2, 4):
        check_laws(fused(graph, devices))


@pytest.mark.parametrize("model", SMALL)
def test_laws_on_models(model: str) -> None:
    for devices in (1, 2, 4):
        check_laws(fused(SMALL[model](), devices))
        check_laws(run_passes(SMALL[model](), EVALUATE, Context(devices)))


def regions_of(graph: Graph) -> set[str]:
    """The distinct regions, each as its ops in order."""
    region = graph.note("region")
    nodes = sorted((n for n in graph.nodes if n in region), key=lambda n: region[n])
    return {
        " ".join(node.op for node in group) for _, group in groupby(nodes, key=lambda n: region[n])
    }


def test_what_the_paper_net_fuses_into() -> None:
    found = regions_of(fused(alexnet()))
    update = "sgd_velocity sgd_weight"
    assert found == {
        "cast center crop channel_shift",
        "conv bias_add relu",
        "lrn max_pool",
        "max_pool flatten",
        "concat",
        "transfer",
        "slice",
        "dense bias_add relu dropout",
        "dense bias_add",
        "cross_entropy",
        "accuracy",
        "cross_entropy_dx",
        "dense_dx",
        "dropout relu_dx",
        "add dropout relu_dx",
        "add unflatten max_pool_dx relu_dx",
        "add max_pool_dx lrn_dx relu_dx",
        "max_pool_dx lrn_dx relu_dx",
        "conv_dx",
        "conv_dx relu_dx",
        f"conv_dw {update}",
        f"dense_dw {update}",
        f"bias_dw {update}",
    }


def test_a_shared_weight_is_not_overwritten_before_its_last_reader() -> None:
    graph = parse(
        """graph g {
          x: f32[2,3] = input()
          labels: i32[2] = input(below=3)
          weights: f32[2] = input()
          w: f32[3,3] = param(std=1)
          y: f32[2,3] = dense(x, w)
          z: f32[2,3] = dense(y, w)
          loss: f32[] = cross_entropy(z, labels, weights)
          output loss
        }"""
    )
    check_laws(fused(graph))


def test_an_update_waits_for_a_later_reader() -> None:
    # d's weights are read by `late`, which begins after `g`: w.next must not join g's region.
    graph = parse(
        """graph g {
          x: f32[2,3]@dev0 = input()
          dy: f32[2,3]@dev0 = input()
          rate: f32[]@dev0 = input()
          w: f32[3,3]@dev0 = param(std=1)
          v: f32[3,3]@dev0 = state()
          g: f32[3,3]@dev0 = dense_dw(x, dy)
          v.next: f32[3,3]@dev0 = sgd_velocity(v, w, g, rate, rate, rate)
          early: f32[2,3]@dev0 = tanh(x)
          late: f32[2,3]@dev0 = dense(early, w)
          w.next: f32[3,3]@dev0 = sgd_weight(w, v.next, rate)
          output late
          update v = v.next
          update w = w.next
        }"""
    )
    result = fuse(graph, Context(1))
    region = {node.name: number for node, number in result.note("region").items()}
    assert region["g"] == region["v.next"] == 0
    assert region["w.next"] not in (region["g"], region["late"])
    check_laws(result)


def test_a_value_needed_in_between_keeps_regions_apart() -> None:
    # r could join c's region, but s, which r waits for, itself waits for c.
    graph = parse(
        """graph g {
          x: f32[2,4,3,3]@dev0 = input()
          w: f32[4,4,1,1]@dev0 = param(std=1)
          c: f32[2,4,3,3]@dev0 = conv(x, w)
          s: f32[2,4,3,3]@dev0 = lrn(c, size=3, k=1.0, alpha=1.0, beta=1.0)
          r: f32[2,4,3,3]@dev0 = add(c, s)
          output r
        }"""
    )
    result = fuse(graph, Context(1))
    assert {n.name: r for n, r in result.note("region").items()} == {"c": 0, "s": 1, "r": 1}


def test_an_update_does_not_join_what_reads_its_state_all_over() -> None:
    graph = parse(
        """graph g {
          v: f32[2,8,3,3]@dev0 = state()
          around: f32[2,8,3,3]@dev0 = lrn(v, size=5, alpha=0.0001, beta=0.75, k=2.0)
          v.next: f32[2,8,3,3]@dev0 = relu(around)
          other: f32[2,8,3,3]@dev0 = relu(around)
          output other
          update v = v.next
        }"""
    )
    noted = fuse(graph, Context(1)).note("region")
    region = {node.name: number for node, number in noted.items()}
    assert region["v.next"] != region["around"] == region["other"]
    run_passes(fuse(graph, Context(1)), ("schedule", "memory"), Context(1))


def test_an_update_before_a_reader_is_refused() -> None:
    graph = parse(
        """graph g {
          v: f32[3,3]@dev0 = state()
          v.next: f32[3,3]@dev0 = relu(v)
          late: f32[3,3]@dev0 = tanh(v)
          output late
          update v = v.next
        }"""
    )
    with pytest.raises(IRError, match=r"'v\.next' takes the place of what 'late' reads later"):
        fuse(graph, Context(1))
