"""precision: what is stored and multiplied in which form."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir.eval import random_feeds, run_graph
from ir.graph import Graph
from ir.leaf import bf16_copies, copied, logical_name, piece
from ir.op import Array, Fusion
from ir.ops import row_of
from ir.ops.precision import rounded
from ir.printer import print_graph
from ir.text import parse
from ir.type import DType, IRError
from passes.context import Context
from passes.pipeline import ACCUMULATE, APPLY, EVALUATE, TRAIN, run_passes
from tests.closeness import assert_same, relative_error
from tests.counts import cases
from tests.graphs import feeds, networks
from tests.models import SMALL

FRONT = TRAIN[: TRAIN.index("fuse")]


def in_form(graph: Graph, precision: str, devices: int = 2) -> Graph:
    return run_passes(graph, FRONT, Context(devices, precision=precision))


def test_fp32_changes_nothing() -> None:
    graph = SMALL["paper"]()
    without = tuple(name for name in FRONT if name != "precision")
    assert in_form(graph, "fp32") == run_passes(graph, without, Context(2))


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
    kept = [leaf for leaf in program.leaves("param", "state") if not copied(leaf)]
    assert {node.type.dtype for node in [*kept, *program.outputs]} == {DType.F32}


@cases(full=100, sample=15)
@given(networks())
def test_names_and_types_of_results_stay(graph: Graph) -> None:
    before = in_form(graph, "fp32")
    for precision in ("tf32", "bf16"):
        after = in_form(graph, precision)
        copies = set(bf16_copies(after).values())
        new = [pair.value for pair in after.updates if pair.leaf not in copies]
        assert [(n.name, n.type) for n in (*after.outputs, *new)] == [
            (n.name, n.type) for n in before.results
        ]


# ------------------------------------------------------------------------------- copies


def read_by_contractions(graph: Graph) -> dict[tuple[str, int], str]:
    """The parameters that contractions read: by the reader's name and the operand's place."""
    return {
        (node.name, place): operand.name
        for node in graph.nodes
        if row_of(node).fusion is Fusion.ANCHOR
        for place, operand in enumerate(node.inputs)
        if operand.op == "param"
    }


@cases(full=100, sample=15)
@given(networks(), st.sampled_from([1, 2]))
def test_contractions_read_the_copy_of_a_parameter(graph: Graph, devices: int) -> None:
    before = run_passes(graph, FRONT[: FRONT.index("precision")], Context(devices))
    plain, program = (in_form(graph, precision, devices) for precision in ("fp32", "bf16"))
    copies = bf16_copies(program)
    now = {param.name: copy for param, copy in copies.items()}
    nodes = {node.name: node for node in program.nodes}
    reads = read_by_contractions(plain)
    for (name, place), param in reads.items():
        # A gradient has its own name when it is back in f32.
        reader = nodes.get(f"{name}.bf16", nodes[name])
        assert reader.inputs[place] is now[param]
    assert {*reads.values()} <= now.keys() <= {*read_by_contractions(before).values()}
    for master, copy in copies.items():
        assert copy.type == master.type.with_dtype(DType.BF16)
        assert copy.attrs["copies"] == logical_name(master)
    assert parse(print_graph(program)) == program


@cases(full=60, sample=10)
@given(networks(), st.sampled_from([1, 2]))
def test_all_programs_have_the_same_copies(graph: Graph, devices: int) -> None:
    context = Context(devices, precision="bf16", accumulate=3)
    found = []
    for passes in (TRAIN, ACCUMULATE, APPLY, EVALUATE):
        program = run_passes(graph, passes, context)
        copies = bf16_copies(program)
        found.append({c.name: (str(c.attrs), c.type, p.name) for p, c in copies.items()})
        region, new = program.note("region"), {p.leaf: p.value for p in program.updates}
        for param, copy in copies.items():
            assert (copy in new) == (param in new) == (passes in (TRAIN, APPLY))
            assert copy not in new or region[new[copy]] == region[new[param]]
    train, accumulate, apply, evaluate = found
    assert train == apply
    # A program lacks those that only layers read which lead nowhere.
    assert all(copies.items() <= train.items() for copies in (accumulate, evaluate))


def assert_rounded(graph: Graph, values: Mapping[str, Array], before: Mapping[str, Array]) -> None:
    """What a program leaves in the copies is what it leaves in the parameters, rounded."""
    for param, copy in bf16_copies(graph).items():
        now = values.get(logical_name(param), before[logical_name(param)])
        assert (values[logical_name(copy)] == rounded(now, "bf16")).all()


@cases(full=60, sample=10)
@given(networks(), st.sampled_from([1, 2]), st.sampled_from([0.0, 0.5]))
def test_copies_follow_their_parameters(graph: Graph, devices: int, rate: float) -> None:
    program = in_form(graph, "bf16", devices)
    fed = feeds(program)
    fed |= {name: np.asarray(rate) for name in fed if name.endswith(".rate")}
    updates = run_graph(program, fed).updates
    assert_rounded(program, updates, fed)
    # What is read in the next program is what was written in this one.
    copies = {logical_name(copy): copy for copy in bf16_copies(program).values()}
    shown = program.replace(outputs=list(copies.values()), updates=())
    for copy in shown.outputs:
        read = run_graph(shown, fed | updates).outputs[copy.name]
        assert (read == updates[logical_name(copy)][piece(copy)]).all()


@pytest.mark.parametrize("devices", [1, 2])
def test_a_step_over_several_batches_is_one_over_their_mean(devices: int) -> None:
    graph = SMALL["tanh-no-dropout"]()
    context = Context(devices, precision="bf16", accumulate=2)
    each, last = (
        run_passes(graph, tuple(p for p in passes if p != "memory"), context)
        for passes in (ACCUMULATE, APPLY)
    )
    train = in_form(graph, "bf16", devices)
    fed = feeds(each) | feeds(last) | feeds(train)
    for keep in (0.0, 1.0):
        fed |= run_graph(each, fed | {"keep": np.asarray(keep)}).updates
    summed, at_once = run_graph(last, fed).updates, run_graph(train, fed).updates
    assert_rounded(last, summed, fed)
    assert_same({name: summed[name] for name in at_once}, at_once, 1e-12)


@pytest.mark.parametrize("model", ["tanh-no-dropout", "13pct", "towers-4"])
def test_two_devices_compute_what_one_does(model: str) -> None:
    one, two = (in_form(SMALL[model](), "bf16", devices) for devices in (1, 2))
    fed = feeds(one)
    whole, parts = run_graph(one, fed), run_graph(two, fed)
    assert_same(parts.outputs, whole.outputs, 2**-7)
    assert_same(parts.updates, whole.updates, 2**-6)


def test_a_parameter_read_twice_has_one_copy_and_others_none() -> None:
    graph = parse("""graph g {
      x: f32[2,4] = input()
      w: f32[4,4] = param(std=0.5)
      s: f32[2,4] = param(std=0.5)
      a: f32[2,4] = dense(x, w)
      b: f32[2,4] = dense(a, w)
      c: f32[2,4] = mul(b, s)
      labels: i32[2] = input(below=4)
      weights: f32[2] = input()
      loss: f32[] = cross_entropy(c, labels, weights)
      output loss
    }""")
    program = in_form(graph, "bf16", 1)
    assert [copy.name for copy in bf16_copies(program).values()] == ["w.bf16"]
    (twice,) = (n for n in program.nodes if n.name == "w.bf16")
    readers = [user.op for user in program.uses()[twice]]
    assert sorted(readers) == ["dense", "dense", "dense_dx"]
    fed = feeds(program)
    assert_rounded(program, run_graph(program, fed).updates, fed)


def test_nothing_is_copied_where_nothing_contracts() -> None:
    graph = parse("""graph g {
      x: f32[2,4] = input()
      s: f32[2,4] = param(std=0.5)
      y: f32[2,4] = mul(x, s)
      output y
    }""")
    assert run_passes(graph, ("precision",), Context(precision="bf16")) == graph


# ------------------------------------------------------------------------------- numbers


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


def test_it_comes_before_the_update() -> None:
    graph = SMALL["no-lrn"]()
    with pytest.raises(IRError, match="pass 'precision' needs a program without updates"):
        run_passes(graph, ("grad", "sgd", "precision"), Context(precision="bf16"))
