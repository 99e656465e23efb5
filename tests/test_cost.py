"""The cost model: what kernels execute is counted, and a simulated run predicts their time."""

import dataclasses
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tvm import tirx

from codegen.cost import count
from codegen.cost.speeds import GUESSES
from codegen.kernels import build
from codegen.kernels.cpu.tile import Tile
from codegen.kernels.cpu.writer import Writer
from codegen.programs import lower
from codegen.steps import Call, steps
from codegen.summary import WIDTH, drawn
from codegen.targets import Cpu
from codegen.tuning.fit import KINDS as FITTED
from codegen.tuning.fit import Sample, fitted
from ir.graph import Graph
from ir.ops import apply
from ir.plan import Kernel, Library, Plan, Run, Work
from ir.plan.prediction import Prediction, instructions, kernel_seconds, traffic
from ir.text import parse
from ir.type import DType, TensorType
from passes.context import Context
from passes.dump import quiet
from runtime.comparison import Comparison
from runtime.executor import Event
from tests.counts import cases
from tests.kernels import Kernel as Compiled
from tests.kernels import host
from tests.models import SMALL
from tests.plans import two_devices

SPEEDS = GUESSES["cpu"]
KINDS = Work.__struct_fields__
NOTHING = Work(*[0] * len(Work.__struct_fields__))


# ------------------------------------------------------------------------------- counting


def writer() -> Writer:
    """An empty kernel."""
    type = TensorType((16, 1 << 20), DType.F32)
    x = apply("input", name="x", type=type)
    y = apply("relu", x, name="y")
    return Writer(Graph("counted", (x, y), (y,)), host())


loops = st.lists(st.integers(1, 7), max_size=4)


@given(loops, st.integers(1, 4), st.integers(1, 3))
def test_a_nest_of_loops_executes_its_body_as_often_as_it_says(
    extents: list[int], rows: int, columns: int
) -> None:
    w = writer()
    source, result = w.buffers[w.leaves[0]], w.buffers[w.region.outputs[0]]
    with w.tasks(5) as task:
        scratch = w.scratch(rows, columns, 16)
        tile = Tile(w, rows, columns)
        with_loops(w, source, tile, extents, rows, columns)
        tile.keep(scratch, lambda m, n: (m, n))
        with w.lanes() as lane:
            w.store(result, scratch[0, 0, lane], 0, task, lane)
    found = count.work(w.built().function)
    times = 5 * int(np.prod(extents))
    assert found.multiply_adds == times * rows * columns
    assert found.loads == times * (rows + columns) + 5
    assert found.stores == 5 * (rows * columns + 1)
    assert (found.simple, found.dear, found.scalars) == (0, 0, 0)


def with_loops(
    w: Writer, source: object, tile: Tile, extents: list[int], rows: int, columns: int
) -> None:
    """A tile's step inside of loops."""
    if extents:
        with w.serial(extents[0]):
            with_loops(w, source, tile, extents[1:], rows, columns)
    else:
        x: object = source
        scalars = [x[0, m, 3] for m in range(rows)]  # type: ignore[index]
        tile.add(scalars, [lambda lane, n=n: x[0, n + 9, lane] for n in range(columns)])  # type: ignore[index, misc]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 40))
def test_bounds_and_conditions_decide_how_often(count_: int, most: int, limit: int) -> None:
    w = writer()
    result = w.buffers[w.region.outputs[0]]
    with w.tasks(count_) as task:
        inner = w.let(tirx.min(task, most))
        with w.serial(inner) as i, w.when(i + task < limit), w.lanes() as lane:
            w.store(result, tirx.const(1, "float32"), 0, i, lane)
    expected = sum(i + task < limit for task in range(count_) for i in range(min(task, most)))
    assert count.work(w.built().function).stores == expected


@given(st.integers(count.SAMPLES + 1, 100_000), st.integers(2, 13))
def test_of_long_loops_some_iterations_stand_for_all(extent: int, period: int) -> None:
    w = writer()
    result = w.buffers[w.region.outputs[0]]
    with w.tasks(extent) as task, w.serial(task % period) as i, w.lanes() as lane:
        w.store(result, tirx.const(1, "float32"), 0, i, lane)
    exact = sum(task % period for task in range(extent))
    assert count.work(w.built().function).stores == pytest.approx(exact, rel=0.05)


def test_a_dense_layer_multiplies_as_often_as_its_formula_says() -> None:
    text = """graph g {
      x: f32[48,100] = input()
      w: f32[64,100] = input()
      y: f32[48,64] = dense(x, w)
      output y
    }"""
    work = count.work(Compiled(parse(text)).built.function)
    # Partial sums are added up after each part of the depth.
    assert work.multiply_adds == 48 * 64 * 100 // 16


def at(winograd: str) -> Cpu:
    """This machine, with so much accuracy to be traded."""
    return dataclasses.replace(host(), winograd=winograd)


def test_minimal_filtering_multiplies_less_than_its_formula_says() -> None:
    text = """graph g {
      x: f32[16,64,16,16] = input()
      w: f32[64,64,3,3] = input()
      y: f32[16,64,16,16] = conv(x, w, pad=[1,1,1,1])
      output y
    }"""
    region = parse(text)
    nominal = 64 * 64 * 9 * 16 * 16
    exact = count.work(Compiled(region, at("none")).built.function)
    fast = count.work(Compiled(region, at("fast")).built.function)
    assert 0.85 * nominal < exact.multiply_adds <= nominal
    assert fast.multiply_adds < nominal / 2
    assert fast.stores > exact.stores


@pytest.mark.parametrize("name", ["paper", "13pct", "vgg"])
def test_every_kernel_of_a_model_can_be_counted(name: str) -> None:
    context = Context(1, say=lambda line: None)
    lowered = lower(SMALL[name](), context, host().layout, lambda name: quiet)
    for graph in lowered.programs.values():
        for step in steps(graph, host().layout):
            assert isinstance(step, Call)
            built = build(step.region.graph, host())
            work = count.work(built.function)
            assert work.stores + work.scalars > 0
            assert min(getattr(work, kind) for kind in KINDS) >= 0


# ------------------------------------------------------------------------------- predictions

works = st.builds(Work, *(st.integers(0, 10**7) for _ in KINDS))


def kernel(work: Work, moved: int = 0) -> Kernel:
    code = Library(file="k.so", sha256="", symbol="k", scratch=0, per_thread=0)
    return Kernel(code=code, arguments=(), flops=0, moved=moved, work=work, measured=False)


@given(works, st.sampled_from(KINDS), st.integers(0, 10**9), st.integers(1, 64))
def test_more_work_takes_no_less_time_and_more_cores_no_more(
    work: Work, kind: str, moved: int, cores: int
) -> None:
    once = kernel_seconds(kernel(work, moved), SPEEDS, cores)
    more = replace(work, **{kind: getattr(work, kind) + 10**6})
    assert kernel_seconds(kernel(more, moved), SPEEDS, cores) >= once
    assert kernel_seconds(kernel(work, moved + 10**6), SPEEDS, cores) >= once
    assert kernel_seconds(kernel(work, moved), SPEEDS, cores + 1) <= once
    assert once * cores >= max(instructions(work, SPEEDS), traffic(moved, SPEEDS))


plans = st.builds(
    lambda works, link: predicted(works, link),
    st.lists(works, min_size=8, max_size=8),
    st.floats(1e3, 1e9),
)
bindings = st.sampled_from([("cpu:0", "cpu:1"), ("cpu:0", "cpu:0")])


def predicted(some: list[Work], link: float) -> Plan:
    """A plan whose kernels do all kinds of work."""
    plan = two_devices()
    kernels = {
        name: replace(each, work=work)
        for (name, each), work in zip(plan.kernels.items(), some, strict=False)
    }
    return replace(plan, kernels=kernels, predicted=replace(SPEEDS, link=link))


@cases(full=100, sample=25)
@given(plans, bindings)
def test_a_device_does_one_thing_at_a_time_and_waits_only_for_transfers(
    plan: Plan, binding: tuple[str, str]
) -> None:
    prediction = Prediction(plan, binding, cores=2)
    timeline = prediction.timeline(plan.programs["train"])
    assert [slot.step for slot in timeline.slots] == list(plan.programs["train"].steps)
    for device in prediction.devices:
        mine = [slot for slot in timeline.slots if device in slot.devices]
        for before, after in pairwise(mine):
            waits = isinstance(after.step, Run)
            assert after.start == before.end if waits else after.start >= before.end
        assert timeline.busy(device) <= timeline.seconds * (1 + 1e-9)
    if len(prediction.devices) == 1:
        assert timeline.busy(binding[0]) == pytest.approx(timeline.seconds)


@cases(full=100, sample=25)
@given(plans, bindings)
def test_a_drawn_timeline_has_a_mark_for_each_interval(
    plan: Plan, binding: tuple[str, str]
) -> None:
    prediction = Prediction(plan, binding, cores=2)
    timeline = prediction.timeline(plan.programs["train"])
    for device in prediction.devices:
        assert len(drawn(timeline, device)) == WIDTH
        assert set(drawn(timeline, device)) <= set("#-.")
        idle = 1 - timeline.busy(device) / timeline.seconds
        assert drawn(timeline, device).count(".") <= WIDTH * idle + 2 * len(timeline.slots)


# ------------------------------------------------------------------------------- measurements


@cases(full=20, sample=5)
@given(st.lists(st.floats(0.01, 5), min_size=len(FITTED), max_size=len(FITTED)), st.integers(0))
def test_what_instructions_take_is_found_from_kernels(times: list[float], seed: int) -> None:
    random = Random(seed)
    truth = replace(SPEEDS, **dict(zip(FITTED, times, strict=True)))
    some = [
        replace(NOTHING, **{kind: int(random.expovariate(1e-6)) for kind in FITTED})
        for _ in range(30)
    ]
    samples = [Sample(work, 0, instructions(work, truth)) for work in some]
    found = fitted(samples, SPEEDS)
    errors = [sample.error(found) for sample in samples]
    assert np.median(errors) < 0.02


def test_too_few_kernels_change_nothing() -> None:
    assert fitted([Sample(replace(NOTHING, dear=10**9), 0, 1.0)], SPEEDS) == SPEEDS


def events(plan: Plan, factor: float, runs: int = 3) -> list[Event]:
    """What a machine would report that is slower than predicted by a factor."""
    prediction = Prediction(plan, plan.binding, cores=2)
    timeline = prediction.timeline(plan.programs["train"])
    found = []
    for run in range(runs):
        for slot in timeline.slots:
            for device in slot.devices:
                times = (factor * (t + run * timeline.seconds) for t in (slot.start, slot.end))
                found.append(Event(plan.binding.index(device), slot.step, *times))
    return found


@cases(full=50, sample=10)
@given(plans, st.floats(0.5, 4), st.randoms())
def test_a_machine_as_predicted_leaves_no_error(plan: Plan, factor: float, random: Random) -> None:
    prediction = Prediction(plan, plan.binding, cores=2)
    seen = events(plan, factor)
    random.shuffle(seen)
    comparison = Comparison(prediction, plan.programs["train"], seen)
    timeline = prediction.timeline(plan.programs["train"])
    assert comparison.seconds == pytest.approx(factor * timeline.seconds)
    for each in comparison.kernels:
        assert each.error == pytest.approx(abs(1 / factor - 1), abs=1e-6)
    lines = list(comparison.lines())
    assert [line.split()[0] for line in lines[-3:]] == ["cpu:0", "cpu:1", "predicted"]
    assert f"error {abs(1 / factor - 1):.1%}" in lines[-1]


def test_without_a_whole_run_nothing_is_compared() -> None:
    plan = two_devices()
    prediction = Prediction(plan, plan.binding, cores=2)
    assert list(Comparison(prediction, plan.programs["train"], []).lines()) == []
