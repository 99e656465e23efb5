"""sgd: the update, against training written out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.alexnet import alexnet
from ir.eval import Feeds, random_feeds, run_graph
from ir.graph import Graph
from ir.op import Array
from passes.context import Context
from passes.pipeline import run_passes
from tests import plain_net
from tests.closeness import assert_close, assert_same, assert_same_results
from tests.counts import cases
from tests.graphs import SEEDS, feeds
from tests.models import SMALL

SIZE = 64
FRONT = ("split", "place", "transfer", "grad")


def training(graph: Graph, devices: int = 1, *, update: str = "sgd", batches: int = 1) -> Graph:
    context = Context(devices, accumulate=batches)
    return run_passes(graph, (*FRONT, update, "simplify"), context)


def step_feeds(graph: Graph, step: int) -> dict[str, Array]:
    """Fresh images, labels and draws; parameters and rates are the caller's."""
    fed = random_feeds(graph, seed=100 + step)
    fed["step"] = np.asarray(step, np.uint32)
    fed["shift"] = np.random.default_rng(step).normal(0, 10, fed["shift"].shape)
    fed["mean"] = np.full(fed["mean"].shape, 127.0)
    fed["weights"] = np.ones(fed["weights"].shape)
    return fed


def rates(params: dict[str, Array], rate: float) -> dict[str, float]:
    """Biases learn twice as fast."""
    return {f"{name}.rate": rate * (2 if name.endswith("bias") else 1) for name in params}


def as_arrays(numbers: dict[str, float]) -> dict[str, Array]:
    return {name: np.asarray(number) for name, number in numbers.items()}


def initial(graph: Graph) -> dict[str, Array]:
    """Larger weights than the paper's: a narrow net at 0.01 has no signal to train on."""
    start = random_feeds(graph, seed=1)
    names = [leaf.name for leaf in graph.leaves("param")]
    return {n: start[n] * (8 if n.endswith("weight") else 0.5) for n in names}


def zeros(params: dict[str, Array]) -> dict[str, Array]:
    return {name: np.zeros_like(value) for name, value in params.items()}


@pytest.mark.parametrize("devices", [1, 2])
def test_twenty_steps_equal_the_plain_implementation(devices: int) -> None:
    graph = SMALL["paper"]()
    program = training(graph, devices)
    params = initial(graph)
    momenta = zeros(params)
    state: dict[str, Array] = {**params, **{f"{n}.momentum": v for n, v in momenta.items()}}
    fixed: dict[str, Array] = {
        **as_arrays(rates(params, 0.003)),
        **as_arrays({"momentum": 0.9, "decay": 0.0005}),
    }
    losses = []
    for step in range(20):
        fed = step_feeds(graph, step)
        results = run_graph(program, {**fed, **fixed, **state})
        expected = plain_net.train_step(
            params, momenta, {**fed, **fixed}, SIZE, momentum=0.9, decay=0.0005
        )
        assert_close(results.outputs["loss"], np.asarray(expected), 1e-9, f"loss of step {step}")
        state = results.updates
        losses.append(expected)
    assert_same({n: state[n] for n in params}, params, 1e-7)
    assert_same({n: state[f"{n}.momentum"] for n in params}, momenta, 1e-7)
    assert len(set(losses)) == 20


def test_frozen_parameters_and_their_momentum_do_not_move() -> None:
    graph = SMALL["paper"]()
    program = training(graph, 2)
    params, random = initial(graph), np.random.default_rng(0)
    state = {**params, **{f"{n}.momentum": random.normal(size=v.shape) for n, v in params.items()}}
    frozen = {"conv1.weight", "conv1.bias", "fc7.weight"}
    fixed = {
        n: 0.0 if n.removesuffix(".rate") in frozen else r for n, r in rates(params, 0.01).items()
    }
    fed: Feeds = {**step_feeds(graph, 0), **fixed, "momentum": 0.9, "decay": 0.0005, **state}
    updates = run_graph(program, fed).updates
    for name, before in state.items():
        same = np.array_equal(updates[name], before)
        assert same == (name.removesuffix(".momentum") in frozen), name


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("batches", [1, 3])
def test_accumulated_batches_equal_one_large_batch(devices: int, batches: int) -> None:
    small, large = (_without_dropout(2), _without_dropout(2 * batches))
    params = initial(small)
    state = {**params, **{f"{n}.momentum": v for n, v in zeros(params).items()}}
    fixed: Feeds = {**rates(params, 0.01), "momentum": 0.9, "decay": 0.0005}
    parts = [step_feeds(small, step) for step in range(batches)]
    summing = training(small, devices, update="accumulate")
    sums = {f"{n}.sum": np.full_like(v, np.nan) for n, v in params.items()}
    for number, fed in enumerate(parts):
        keep = {"keep": float(number > 0)}
        sums = run_graph(summing, {**fed, **state, **sums, **keep}).updates
    applying = training(small, devices, update="apply", batches=batches)
    updates = run_graph(applying, {**state, **sums, **fixed}).updates
    together = {
        name: value
        if name == "mean" or not value.ndim
        else np.concatenate([p[name] for p in parts])
        for name, value in parts[0].items()
        if name not in params
    }
    expected = run_graph(training(large, devices), {**together, **state, **fixed}).updates
    assert_same(updates, expected, 1e-9)


def _without_dropout(batch: int) -> Graph:
    return alexnet(batch, width=0.125, image=SIZE, classes=10, activation="tanh", dropout=0.0)


@cases(full=100, sample=10)
@given(SEEDS, st.sampled_from(["paper", "code145"]))
def test_a_short_batch_is_a_batch_of_just_its_images(seed: int, preset: str) -> None:
    short, full = (
        alexnet(batch, preset=preset, width=0.125, image=SIZE, classes=10) for batch in (2, 3)
    )
    fed = feeds(full, seed)
    fed["weights"] = np.asarray([1.0, 1.0, 0.0])
    images = ("images", "labels", "offset", "flip", "shift", "weights")
    present = {name: fed[name][:2] if name in images else fed[name] for name in fed}
    padded, alone = (
        run_graph(run_passes(graph, ("grad",), Context(1)), given_feeds)
        for graph, given_feeds in ((full, fed), (short, present))
    )
    assert_same_results(padded, alone, 1e-9)
