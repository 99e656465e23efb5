"""The report: what it says of the paper's net, and of programs at any stage."""

import pytest

from frontend.alexnet import alexnet
from ir.printer import print_graph
from passes.context import Context
from passes.pipeline import TRAIN, run_passes
from passes.report import report
from tests.commands import assert_refused, python
from tests.models import SMALL, SOME

ALEXNET = print_graph(alexnet())


def test_the_papers_net() -> None:
    done = python("passes.report", given=ALEXNET)
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    device, other, total = lines[1:4]
    assert device[:3] == ["dev0", "32,531,112", "364,251,408"]
    assert other[:3] == ["dev1", "28,434,112", "360,155,408"]
    assert total[:3] == ["total", "60,965,224", "724,406,816"]
    for row in (device, other):
        arena, bound = float(row[3].replace(",", "")), float(row[5].replace(",", ""))
        assert bound <= arena <= 1.05 * bound
        assert row[-1] == "yes"
    moves = [line for line in lines if len(line) > 4 and line[4] == "MB" and "dev" in line[1]]
    assert len(moves) == 14
    assert sum(float(line[3]) for line in moves) == pytest.approx(60.03, abs=0.05)
    assert (
        "7 transfers forward and 7 backward move 60.03 MB per step; "
        "the minimum cut proves 60.03 MB necessary" in done.out
    )


def test_each_transfer_says_what_forces_it() -> None:
    text = report(run_passes(alexnet(), TRAIN, Context(2)))
    assert "conv3.1 (conv) reads all shards" in text
    assert "fc8 (dense) reads all shards" in text
    assert "(conv_dx) makes a part of its gradient" in text


@pytest.mark.parametrize("until", ["transfer", "simplify", "fuse", "memory"])
def test_a_placed_program_is_reported_as_it_is(until: str) -> None:
    names = TRAIN[: TRAIN.index(until) + 1]
    graph = run_passes(SMALL["paper"](), names, Context(2))
    done = python("passes.report", given=print_graph(graph))
    assert done.code == 0
    backward = 0 if until == "transfer" else 7
    assert f"7 transfers forward and {backward} backward" in done.out


@pytest.mark.parametrize("model", SOME)
@pytest.mark.parametrize(("devices", "precision"), [(1, "fp32"), (2, "fp32"), (4, "bf16")])
def test_every_model_has_a_report(model: str, devices: int, precision: str) -> None:
    graph = SMALL[model]()
    text = report(run_passes(graph, TRAIN, Context(devices, precision)))
    total = sum(leaf.type.elements for leaf in graph.leaves("param"))
    assert f"{total:,}" in text


def test_more_devices_have_a_bound_of_another_kind() -> None:
    done = python("passes.report", "--devices", "4", given=print_graph(SMALL["towers-4"]()))
    assert "half the isolating cuts" in done.out


@pytest.mark.parametrize("devices", ["0", "-1", "65", "two"])
def test_a_wrong_count_of_devices_is_refused(devices: str) -> None:
    done = python("passes.report", "--devices", devices, given=ALEXNET)
    assert_refused(done, "expected an integer from 1 to 64")


def test_a_bad_program_is_refused() -> None:
    assert_refused(python("passes.report", given="graph g {\n x\n}"), "<stdin>:2:", "expected")
