"""plandiff: every difference between two plans is told, and named."""

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import replace

from codegen import plandiff
from codegen.assemble import assemble
from codegen.plandiff import differences
from ir.plan import Move, Plan, Run, write
from tests.commands import assert_refused, python
from tests.counts import cases
from tests.graphs import SEEDS, random_graph
from tests.models import SMALL
from tests.test_build import options
from tests.uncompiled import skip_compiling


@pytest.fixture(scope="module")
def plan() -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        skip_compiling(patch)
        return assemble(SMALL["paper"](), options(2)).plan


def changed(items: tuple[Any, ...], place: int, **fields: Any) -> tuple[Any, ...]:
    return tuple(replace(x, **fields) if i == place else x for i, x in enumerate(items))


def train(plan: Plan, **fields: Any) -> Plan:
    programs = {**plan.programs, "train": replace(plan.programs["train"], **fields)}
    return replace(plan, programs=programs)


def place_of(plan: Plan, kind: type) -> int:
    steps = plan.programs["train"].steps
    return next(i for i, step in enumerate(steps) if isinstance(step, kind))


def moved_state(plan: Plan) -> tuple[Plan, str]:
    tensor = replace(plan.states[3].tensor, offset=12_345_600)
    new = replace(plan, states=changed(plan.states, 3, tensor=tensor))
    old = plan.states[3].tensor
    return new, f"state {old.name}: offset {old.offset:,}, now 12,345,600"


def removed_kernel(plan: Plan) -> tuple[Plan, str]:
    name = next(iter(plan.kernels))
    kernels = {key: kernel for key, kernel in plan.kernels.items() if key != name}
    return replace(plan, kernels=kernels), f"kernel {name}: removed"


def other_scratch(plan: Plan) -> tuple[Plan, str]:
    name, kernel = next(iter(plan.kernels.items()))
    code = replace(kernel.code, per_thread=64_000)
    kernels = {**plan.kernels, name: replace(kernel, code=code)}
    return replace(plan, kernels=kernels), f"kernel {name}: per_thread 64, now 64,000"


def removed_step(plan: Plan) -> tuple[Plan, str]:
    steps, place = plan.programs["train"].steps, place_of(plan, Run)
    step = steps[place]
    assert isinstance(step, Run)
    new = train(plan, steps=steps[:place] + steps[place + 1 :])
    return new, f"train: step {', '.join(step.writes)} on dev{step.device}: removed"


def other_transfer(plan: Plan) -> tuple[Plan, str]:
    steps, place = plan.programs["train"].steps, place_of(plan, Move)
    step = steps[place]
    assert isinstance(step, Move)
    new = train(plan, steps=changed(steps, place, bytes=64))
    name = f"transfer {step.value} to dev{step.target}"
    return new, f"train: step {name}: bytes {step.bytes:,}, now 64"


def later_step(plan: Plan) -> tuple[Plan, str]:
    first, *others = plan.programs["train"].steps
    assert isinstance(first, Run)
    assert isinstance(others[0], Run)
    other = f"{', '.join(others[0].writes)} on dev{others[0].device}"
    new = train(plan, steps=(others[0], first, *others[1:]))
    return new, f"train: steps: {other} now first"


def fewer_feeds(plan: Plan) -> tuple[Plan, str]:
    feeds = plan.programs["train"].feeds
    return train(plan, feeds=feeds[1:]), f"train: feed {feeds[0].tensor.name}: removed"


def other_batch(plan: Plan) -> tuple[Plan, str]:
    return train(plan, batch=7), "train: batch 2, now 7"


def no_evaluation(plan: Plan) -> tuple[Plan, str]:
    programs = {"train": plan.programs["train"]}
    return replace(plan, programs=programs), "program evaluate: removed"


def bigger_arena(plan: Plan) -> tuple[Plan, str]:
    old = plan.devices[1].arena
    devices = changed(plan.devices, 1, arena=2 * old)
    return replace(plan, devices=devices), f"device dev1: arena {old:,}, now {2 * old:,}"


def other_binding(plan: Plan) -> tuple[Plan, str]:
    return replace(plan, binding=("cpu:0", "cpu:0")), "binding [cpu:0, cpu:1], now [cpu:0, cpu:0]"


CHANGES: tuple[Callable[[Plan], tuple[Plan, str]], ...] = (
    moved_state,
    removed_kernel,
    other_scratch,
    removed_step,
    other_transfer,
    later_step,
    fewer_feeds,
    other_batch,
    no_evaluation,
    bigger_arena,
    other_binding,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_named_and_nothing_else(
    plan: Plan, change: Callable[[Plan], tuple[Plan, str]]
) -> None:
    new, words = change(plan)
    (line,) = differences(plan, new)
    assert words in line


@cases(full=60, sample=10)
@given(SEEDS)
def test_generated_plans_are_equal_or_differ(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        skip_compiling(patch)
        graphs = [random_graph(Random(seed + i), 3) for i in range(2)]
        first, second = (assemble(graph, options(2)).plan for graph in graphs)
    assert not list(differences(first, first))
    assert bool(list(differences(first, second))) == (first != second)


def test_the_command(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write(plan, old)
    write(replace(plan, binding=("cpu:0", "cpu:0")), new)
    monkeypatch.setattr(sys, "argv", ["plandiff", str(old), str(old)])
    plandiff.main()
    assert capsys.readouterr().out == "no difference\n"
    monkeypatch.setattr(sys, "argv", ["plandiff", str(old), str(new)])
    with pytest.raises(SystemExit) as ended:
        plandiff.main()
    assert ended.value.code == 1
    assert "binding" in capsys.readouterr().out
    assert_refused(python("codegen.plandiff", str(old), str(tmp_path / "none.json")), "none.json")


def test_programs_come_in_the_plan_s_order(plan: Plan) -> None:
    (program, *_) = plan.programs.values()
    names = [f"p{number * 7 % 23}" for number in range(23)]
    new = replace(plan, programs=dict.fromkeys(names, program))
    found = list(differences(replace(plan, programs={}), new))
    assert found == [f"program {name}: added" for name in names]
