"""evaluate: the program that classifies."""

import numpy as np
import pytest
from hypothesis import given

from frontend.alexnet import alexnet
from ir.eval import run_graph
from ir.graph import Graph
from passes.context import Context
from passes.pipeline import EVALUATE, TRAIN, run_passes
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import feeds, networks
from tests.models import SMALL


def evaluation(graph: Graph, devices: int = 2) -> Graph:
    return run_passes(graph, EVALUATE, Context(devices))


@cases(full=100, sample=15)
@given(networks())
def test_probabilities_are_those_of_the_loss(graph: Graph) -> None:
    outputs = run_graph(evaluation(graph), feeds(graph)).outputs
    fed = feeds(graph)
    own = np.take_along_axis(outputs["probabilities"], fed["labels"][:, None], axis=1)[:, 0]
    expected = -(fed["weights"] * np.log(own)).sum() / fed["weights"].sum()
    assert_close(np.asarray(outputs["loss"]), np.asarray(expected), 1e-9, "loss")
    assert_close(outputs["probabilities"].sum(axis=1), np.ones(len(own)), 1e-12, "sum")


@pytest.mark.parametrize("model", SMALL)
def test_dropout_becomes_its_expectation(model: str) -> None:
    graph = SMALL[model]()
    program = evaluation(graph)
    assert "dropout" not in {node.op for node in program.nodes}
    assert {"seed", "step"}.isdisjoint(node.name for node in program.nodes)
    kept = [n for n in program.nodes if n.op == "scale" and n.attrs["by"] == 0.5]
    split = [n for n in run_passes(graph, ("split",), Context(2)).nodes if n.op == "dropout"]
    assert len(kept) == len(split)


@pytest.mark.parametrize("model", SMALL)
def test_parameters_stay_where_training_has_them(model: str) -> None:
    graph = SMALL[model]()
    training = {n.name: n for n in run_passes(graph, TRAIN, Context(2)).leaves("param")}
    for leaf in evaluation(graph).leaves("param"):
        there = training[leaf.name]
        assert (leaf.type, leaf.attrs) == (there.type, there.attrs)


def test_the_factor_is_the_chance_to_be_kept() -> None:
    program = evaluation(alexnet(2, width=0.125, image=64, classes=10, dropout=0.25))
    assert {n.attrs["by"] for n in program.nodes if n.op == "scale"} == {0.75}


def test_nothing_is_updated() -> None:
    program = evaluation(SMALL["paper"]())
    assert not program.updates
    assert not program.gradients
    names = [node.name for node in program.outputs]
    assert names == ["loss", "top1", "top5", "probabilities", "penultimate"]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("model", SMALL)
def test_the_features_are_what_the_last_dense_layer_reads(model: str, devices: int) -> None:
    graph = SMALL[model]()
    program = evaluation(graph, devices)
    *_, (last, _) = (n.inputs for n in graph.nodes if n.op == "dense")
    whole = run_graph(evaluation(graph.replace(outputs=(*graph.outputs, last)), 1), feeds(graph))
    found = run_graph(program, feeds(graph)).outputs
    assert_close(found["penultimate"], whole.outputs[last.name], 1e-9, model)
