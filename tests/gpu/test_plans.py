"""Whole plans on a GPU: every step by the oracle, and the same bits however they are run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from codegen.validate import validate
from ir.op import Array
from ir.plan import folder, read
from ir.text import read as read_graph
from runtime.cuda.driver import gpus
from runtime.devices import open_executor
from runtime.executor import Event, Executor
from tests.gpu.feeds import random_feeds

pytestmark = pytest.mark.gpu

STEPS = 4
LARGEST = 1 << 28
"""Bytes of an arena, beyond which the oracle takes minutes for a step."""

Values = dict[str, Array]
Way = Callable[[Executor, str], None]


def test_every_step_equals_the_oracle(network: Path) -> None:
    plan = read(network)
    if max(device.arena for device in plan.devices) > LARGEST:
        pytest.skip("too large for the oracle; its kernels are tested one by one")
    with open_executor(plan, folder(network)) as executor:
        for name in plan.programs:
            graph = read_graph(str(folder(network) / f"{name}.ir"))
            assert list(validate(executor, name, graph, seed=STEPS))


def test_a_watch_sees_every_step(network: Path) -> None:
    plan, seen = read(network), list[Event]()
    with open_executor(plan, folder(network)) as executor:
        executor.states.initialise(0)
        for name, program in plan.programs.items():
            for feed, value in random_feeds(program, 0).items():
                executor.feed(name, feed, value)
            seen.clear()
            executor.run(name, seen.append)()
            assert {event.step.index for event in seen} == set(range(len(program.steps)))
            assert all(event.start <= event.end for event in seen)


# ---------------------------------------------------------------------------- the same bits


def test_runs_are_alike(network: Path) -> None:
    assert_same(network, None, None)


def test_a_replayed_graph_does_what_its_steps_do(network: Path) -> None:
    assert_same(network, None, None, step_by_step)


def test_two_gpus_do_what_one_does(network: Path) -> None:
    count, devices = len(gpus()), len(read(network).devices)
    if count < 2 or devices < 2:
        pytest.skip(f"{count} GPUs for {devices} devices, expected two or more")
    assert_same(network, "cuda:0,cuda:0", "cuda:0,cuda:1")


def step_by_step(executor: Executor, program: str) -> None:
    """A run of a program, each step waited for."""
    executor.begin(program)
    for index in range(len(executor.plan.programs[program].steps)):
        executor.step(program, index)


def in_one_go(executor: Executor, program: str) -> None:
    """A run of a program as training does it; what it puts out is what lies in memory then."""
    outputs = executor.run(program)()
    for tensor in executor.plan.programs[program].outputs:
        assert np.array_equal(outputs[tensor.name], executor.read(tensor)), tensor.name


def assert_same(
    network: Path, binding: str | None, other: str | None, way: Way = in_one_go
) -> None:
    """Fail unless two bindings, the second run in some way, give the same bits."""
    one, two = results(network, binding, in_one_go), results(network, other, way)
    for (name, value), (again, value_again) in zip(one, two, strict=True):
        assert name == again
        assert value.tobytes() == value_again.tobytes(), name


def results(network: Path, binding: str | None, way: Way) -> list[tuple[str, Array]]:
    """All outputs of some runs of every program, then the states."""
    plan = read(network)
    with open_executor(plan, folder(network), binding=binding) as executor:
        executor.states.initialise(0)
        found = [pair for step in range(STEPS) for pair in _step(executor, step, way)]
        found += [(name, executor.states.read(name)) for name in executor.states.names]
    assert all(np.isfinite(value).all() for _, value in found)
    return found


def _step(executor: Executor, step: int, way: Way) -> Iterator[tuple[str, Array]]:
    """The programs take turns, so that one finds what another left in its memory."""
    for name, program in executor.plan.programs.items():
        for feed, value in random_feeds(program, step).items():
            executor.feed(name, feed, value)
        way(executor, name)
        for tensor in program.outputs:
            yield f"{name} {step}: {tensor.name}", executor.read(tensor)
