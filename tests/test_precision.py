"""precision: what is stored and multiplied in which form."""

import numpy as np
import pytest
from hypothesis import given

from ir.eval import random_feeds, run_graph
from ir.graph import Graph
from ir.op import Fusion
from ir.ops import row_of
from ir.text import parse
from ir.type import DType, IRError
from passes.context import Context
from passes.pipeline import TRAIN, run_passes
from tests.closeness import relative_error
from tests.counts import cases
from tests.graphs import feeds, networks
from tests.models import SMALL

FRONT = ("split", "place", "transfer", "grad", "sgd", "simplify", "precision")


def in_form(graph: Graph, precision: str) -> Graph:
    return run_passes(graph, FRONT, Context(2, precision=precision))


def test_fp32_changes_nothing() -> None:
    graph = SMALL["paper"]()
    assert in_form(graph, "fp32") == run_passes(graph, FRONT[:-1], Context(2))


@pytest.mark.parametrize("model", SMALL)
def test_tf32_marks_the_contractions_and_nothing_else(model: str) -> None:
    for node in in_form(SMALL[model](), "tf32").nodes:
        anchor = row_of(node).fusion is Fusion.ANCHOR
        assert (node.attrs.get("math") == "tf32") == anchor


@pytest.mark.parametrize("model", SMALL)
def test_bf16_feeds_the_contractions_and_keeps_the_masters(model: str) -> None:
    program = in_form(SMALL[model](), "bf16")
    for node in program.nodes:
        if row_of(node).fusion is Fusion.ANCHOR:
            assert {operand.type.dtype for operand in node.inputs} == {DType.BF16}
            assert node.type.dtype is (DType.F32 if node.op.endswith("_dw") else DType.BF16)
    biases = [n for n in program.nodes if n.op == "cast" and n.inputs[0].type.rank < 2]
    assert not [n for n in biases if n.type.dtype is DType.BF16]
    kept = [*program.leaves("param", "state"), *(p.value for p in program.updates)]
    assert {node.type.dtype for node in [*kept, *program.outputs]} == {DType.F32}


@cases(full=100, sample=15)
@given(networks())
def test_names_and_types_of_results_stay(graph: Graph) -> None:
    before = in_form(graph, "fp32")
    for precision in ("tf32", "bf16"):
        after = in_form(graph, precision)
        assert [(n.name, n.type) for n in after.results] == [
            (n.name, n.type) for n in before.results
        ]


@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 2e-3), ("bf16", 2e-2)])
def test_the_error_is_that_of_the_mantissa(precision: str, tolerance: float) -> None:
    graph = SMALL["tanh-no-dropout"]()
    exact, rounded = in_form(graph, "fp32"), in_form(graph, precision)
    fed = feeds(exact)
    losses = [float(run_graph(p, fed).outputs["loss"]) for p in (exact, rounded)]
    error = relative_error(np.asarray(losses[1]), np.asarray(losses[0]))
    assert 0 < error < tolerance


def test_the_whole_pipeline_runs_in_bf16() -> None:
    program = run_passes(SMALL["code145"](), TRAIN, Context(2, precision="bf16"))
    assert np.isfinite(run_graph(program, random_feeds(program)).outputs["loss"])


def test_an_unknown_precision_is_refused() -> None:
    graph = parse("graph g {\n x: f32[] = input()\n output x\n}")
    with pytest.raises(IRError, match="unknown precision 'fp8', expected fp32, tf32, bf16"):
        run_passes(graph, ("precision",), Context(precision="fp8"))
