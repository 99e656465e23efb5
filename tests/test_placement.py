"""split, place, transfer: the placed program means what the whole one means."""

from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

from frontend.alexnet import alexnet
from ir.eval import Results, run_graph
from ir.graph import Graph, Node, ancestors
from ir.leaf import logical_name, logical_shape, piece
from ir.ops import row_of
from ir.text import parse
from ir.type import Device, IRError
from passes.certificate import certify
from passes.context import Context
from passes.fed import fed_values
from passes.pipeline import run_passes
from passes.report import macs_per_image, parameters
from tests.closeness import assert_same_results
from tests.counts import cases
from tests.graphs import SEEDS, feeds, networks, random_graph
from tests.models import SMALL, SOME

PLACED = ("split", "place", "transfer")


def placed(graph: Graph, devices: int, *more: str) -> Graph:
    return run_passes(graph, (*PLACED, *more), Context(devices))


def gradients(graph: Graph, devices: int | None = None) -> Results:
    names = ("grad",) if devices is None else (*PLACED, "grad")
    return run_graph(run_passes(graph, names, Context(devices or 1)), feeds(graph))


# ---------------------------------------------------------------------------- same meaning


@cases(full=200, sample=12)
@given(networks(differentiable=True))
def test_whole_equals_placed(graph: Graph) -> None:
    whole = gradients(graph)
    for devices in (1, 2, 4):
        assert_same_results(gradients(graph, devices), whole, 1e-9)


@pytest.mark.parametrize("model", SOME)
def test_every_model_equals_its_placed_self(model: str) -> None:
    graph = SMALL[model]()
    whole = gradients(graph)
    for devices in (1, 2, 4):
        assert_same_results(gradients(graph, devices), whole, 1e-9)


def test_dropout_masks_are_those_of_the_whole_net() -> None:
    graph = parse(
        """graph g {
          x: f32[4,6] = input()
          seed: u32[] = input()
          step: u32[] = input()
          w: f32[8,6] = param(std=1)
          y: f32[4,8] = dense(x, w)
          z: f32[4,8] = dropout(y, seed, step, p=0.5, stream=3)
          output z
        }"""
    )
    given_feeds = feeds(graph)
    whole = run_graph(graph, given_feeds).outputs["z"]
    assert (whole == 0).any()
    assert (whole != 0).any()
    for devices in (2, 4):
        parted = run_graph(placed(graph, devices), given_feeds).outputs["z"]
        assert ((parted == 0) == (whole == 0)).all()


# ---------------------------------------------------------------------------- split


@cases(full=200, sample=25)
@given(networks())
def test_pieces_of_a_parameter_tile_it(graph: Graph) -> None:
    for devices in (2, 3, 4):
        covered: dict[str, npt.NDArray[np.int64]] = {}
        for leaf in placed(graph, devices).leaves("param"):
            cells = covered.setdefault(logical_name(leaf), np.zeros(logical_shape(leaf), np.int64))
            cells[piece(leaf)] += 1
        assert set(covered) == {leaf.name for leaf in graph.leaves("param")}
        assert all((cells == 1).all() for cells in covered.values())


def test_pieces_can_be_cut_again() -> None:
    graph = SMALL["towers-4"]()
    twice = run_passes(graph, ("split", *PLACED, "grad"), Context(2))
    assert max(node.name.count(".") for node in twice.leaves("param")) == 3
    assert_same_results(run_graph(twice, feeds(graph)), gradients(graph), 1e-9)


def test_one_device_splits_nothing() -> None:
    graph = SMALL["paper"]()
    assert run_passes(graph, ("split",), Context(1)) == graph


@pytest.mark.parametrize(
    ("devices", "line", "reason"),
    [
        (
            2,
            "y: f32[2,6] = dense(x, w, whole=1)",
            "y (dense) stays whole: the model keeps it whole",
        ),
        (4, "y: f32[2,6] = dense(x, w)", "y (dense) stays whole: its 6 outputs do not divide by 4"),
    ],
)
def test_what_stays_whole_says_why(devices: int, line: str, reason: str) -> None:
    said: list[str] = []
    text = f"""graph g {{
      x: f32[2,5] = input()
      w: f32[6,5] = param(std=1)
      {line}
      output y
    }}"""
    whole = run_passes(parse(text), ("split",), Context(devices, say=said.append))
    assert said == [f"split: {reason}"]
    assert [node.op for node in whole.nodes] == ["input", "param", "dense"]


def test_towers_that_devices_do_not_divide_stay_whole() -> None:
    said: list[str] = []
    split = run_passes(SMALL["paper"](), ("split",), Context(4, say=said.append))
    assert any("norm1 (lrn) stays whole: its 2 groups do not divide over 4" in s for s in said)
    assert any(node.name == "norm1" for node in split.nodes)


# ---------------------------------------------------------------------------- place, transfer


@cases(full=200, sample=25)
@given(networks())
def test_every_device_works_with_what_it_has(graph: Graph) -> None:
    for devices in (1, 2, 4):
        result = placed(graph, devices)
        for node in result.nodes:
            assert node.device in {Device(i) for i in range(devices)}
            if node.op != "transfer":
                assert {operand.device for operand in node.inputs} <= {node.device}


@cases(full=200, sample=25)
@given(networks())
def test_nothing_is_moved_twice_or_needlessly(graph: Graph) -> None:
    for devices in (2, 4):
        result = placed(graph, devices)
        fed = fed_values(result)
        moves = [(n.inputs[0], n.device) for n in result.nodes if n.op == "transfer"]
        assert len(moves) == len(set(moves))
        assert not any(source in fed for source, _ in moves)
        uses = result.uses()
        assert all(uses[n] for n in result.nodes if n.op == "transfer")


@cases(full=200, sample=25)
@given(networks())
def test_islands_are_not_parted(graph: Graph) -> None:
    result = placed(graph, 2)
    for node, readers in result.uses().items():
        if node.op == "concat":
            assert "transfer" not in {reader.op for reader in readers}
        if node.op == "transfer":
            source = node.inputs[0]
            parameterless = [r for r in readers if not any(i.op == "param" for i in r.inputs)]
            lonely = [r for r in parameterless if _producers(r) == {node}]
            assert not lonely or source.op in ("slice", "concat", "param")


def _producers(node: Node) -> set[Node]:
    return {operand for operand in node.inputs if not row_of(operand).is_leaf}


def test_feeds_go_to_every_device_that_reads_them() -> None:
    result = placed(SMALL["paper"](), 2)
    where = {(logical_name(n), n.device) for n in result.leaves("input")}
    assert {("images", Device(0)), ("images", Device(1))} <= where
    assert ("labels", Device(1)) not in where


def test_a_placed_program_cannot_be_placed_again() -> None:
    graph = placed(SMALL["paper"](), 2)
    with pytest.raises(IRError, match="pass 'place' needs types without devices"):
        run_passes(graph, ("place",), Context(2))


# ---------------------------------------------------------------------------- the paper's net


def test_the_papers_two_device_figures() -> None:
    graph = placed(alexnet(), 2, "grad", "sgd", "simplify")
    first, second = graph.devices()
    assert (parameters(graph, first), parameters(graph, second)) == (32_531_112, 28_434_112)
    assert macs_per_image(graph, first) == 364_251_408
    assert macs_per_image(graph, second) == 360_155_408
    forward = ancestors(graph.outputs)
    moves = [node for node in graph.nodes if node.op == "transfer"]
    assert [node in forward for node in moves].count(True) == 7
    assert len(moves) == 14
    certificate = certify(graph)
    assert certificate.moved == certificate.bound == 60_030_976
    assert certificate.exact


def test_the_papers_net_exchanges_at_four_layers_only() -> None:
    graph = placed(alexnet(), 2)
    uses = graph.uses()
    moves = [node for node in graph.nodes if node.op == "transfer"]
    concats = {reader for move in moves for reader in uses[move]}
    assert {concat.op for concat in concats} == {"concat"}
    layers = {reader.name.split(".")[0] for concat in concats for reader in uses[concat]}
    assert layers == {"conv3", "fc6", "fc7", "fc8"}


def test_the_one_gpu_net_on_two_devices_keeps_its_parameters() -> None:
    graph = placed(alexnet(one_gpu=True), 2)
    assert sum(parameters(graph, device) for device in graph.devices()) == 59_798_312


@cases(full=50, sample=10)
@given(SEEDS)
def test_placing_is_deterministic(seed: int) -> None:
    graph = random_graph(Random(seed))
    assert placed(graph, 2) == placed(graph, 2)


def test_a_parameter_that_is_a_result_stays_whole() -> None:
    network, passes = SMALL["paper"](), ("split", "place", "transfer")
    cut = next(leaf for leaf in network.leaves("param") if leaf.name == "fc6.weight")

    def pieces(graph: Graph) -> list[Node]:
        placed = run_passes(graph, passes, Context(2))
        return [leaf for leaf in placed.leaves("param") if logical_name(leaf) == cut.name]

    assert len(pieces(network)) == 2
    (whole,) = pieces(network.replace(outputs=[*network.outputs, cut]))
    assert whole.type.shape == cut.type.shape
