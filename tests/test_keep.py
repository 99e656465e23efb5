"""codegen.build --keep: values within a network, put out by its evaluation and by nothing else."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.assemble import Assembled, Options, assemble
from codegen.keep import keeping
from ir import plan as plans
from ir.command import Error
from ir.eval import run_graph
from ir.graph import Graph
from ir.op import Array
from ir.ops import row_of
from ir.plan import Run
from passes.context import Context
from passes.pipeline import EVALUATE, run_passes
from tests.built import finished
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import feeds, networks
from tests.kept import KEPT, kept
from tests.kernels import host
from tests.models import SMALL
from tests.uncompiled import skip_compiling


def computed(graph: Graph) -> tuple[str, ...]:
    return tuple(node.name for node in graph.nodes if not row_of(node).is_leaf)


DEVICES = ("cpu:0", "cpu:1", "cpu:2")


def uncompiled(graph: Graph, devices: int, keep: tuple[str, ...] = ()) -> Assembled:
    with pytest.MonkeyPatch.context() as patch:
        skip_compiling(patch)
        return assemble(graph, Options(DEVICES[:devices], host(), keep=keep))


@cases(full=100, sample=15)
@given(networks(), st.integers(1, 3), st.data())
def test_kept_values_are_the_network_s(graph: Graph, devices: int, data: st.DataObject) -> None:
    names = tuple(data.draw(st.lists(st.sampled_from(computed(graph)), unique=True, max_size=5)))
    assembled = uncompiled(graph, devices, names)
    fed = feeds(graph)
    found = run_graph(assembled.programs["evaluate"], fed).outputs
    whole = run_graph(run_passes(keeping(graph, names), EVALUATE[3:4], Context(1)), fed).outputs
    put_out = [tensor.name for tensor in assembled.plan.programs["evaluate"].outputs]
    assert len(set(put_out)) == len(put_out)
    for name in names:
        assert name in put_out
        assert_close(found[name], whole[name], 1e-9, name)


@cases(full=60, sample=8)
@given(networks(), st.integers(1, 3))
def test_training_computes_the_same_with_and_without(graph: Graph, devices: int) -> None:
    """Values may lie on other devices, no more: what is put out needs them there."""
    plain, everything = (
        uncompiled(graph, devices, keep).programs.get("train") for keep in ((), computed(graph))
    )
    assert (plain is None) == (everything is None)
    if plain is not None and everything is not None:
        fed = feeds(plain)
        one, other = run_graph(plain, fed), run_graph(everything, fed)
        assert_same(one.outputs | one.updates, other.outputs | other.updates)


def assert_same(one: Mapping[str, Array], other: Mapping[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert np.array_equal(value, other[name]), name


@pytest.mark.parametrize("model", ["paper", "13pct"])
def test_the_features_take_no_step(model: str) -> None:
    assembled = uncompiled(SMALL[model](), 2)
    steps = assembled.plan.programs["evaluate"].steps
    assert "penultimate" not in {w for s in steps if isinstance(s, Run) for w in s.writes}


def test_results_that_are_named_twice_stay_so() -> None:
    network = SMALL["paper"]()
    twice = network.replace(outputs=[*network.outputs, *network.outputs])
    name = next(node.name for node in network.nodes if node.op == "lrn")
    assert keeping(twice, [name, name]).outputs[:-1] == twice.outputs


@pytest.mark.parametrize("name", ["relu99", "images", "conv1.weight", "conv1.weigth"])
def test_an_unknown_name_is_refused_with_those_like_it(name: str) -> None:
    with pytest.raises(Error, match=f"--keep {name}: .* computes no value") as caught:
        keeping(SMALL["paper"](), [name])
    expected = "conv1" if "conv1" in name else "relu" if "relu" in name else ""
    assert expected in str(caught.value).partition("expected one such as")[2]


@pytest.mark.full
def test_a_compiled_plan_puts_out_what_a_kernel_made_on_its_way() -> None:
    done = finished("codegen.validate", "plan.json", "--program", "evaluate", cwd=kept())
    assert "error" in done.out
    outputs = plans.read(kept() / "plan.json").programs["evaluate"].outputs
    assert {*KEPT.split(",")} < {output.name for output in outputs}
