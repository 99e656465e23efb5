"""Plans on simulated GPUs: the same bits for every binding, runs ahead, nothing read too early."""

from collections.abc import Iterator
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ir.command import Error, Exit
from ir.op import Array
from ir.plan import Cubins, Move, Plan, check
from runtime.binding import bind
from runtime.cuda.driver import Gpu, Stream
from runtime.cuda.executor import REST, CudaExecutor
from runtime.cuda.mail import Mail
from runtime.executor import Event, Executor
from runtime.fit import DoesNotFit
from tests import learner, plans
from tests.counts import cases
from tests.cuda_plans import GPU, ONE_EACH, TOGETHER, folder, on_gpus, opened, simulated
from tests.plans import BYTES, SIZE, X, halves, two_devices
from tests.test_runtime import reference
from tests.test_runtime_programs import START, Step, steps
from tests.test_runtime_programs import _plan as random_plan
from tests.test_runtime_programs import _reference as random_reference

BINDINGS = (ONE_EACH, TOGETHER, "cuda:1,cuda:0")
SEEDS = range(8)
BATCH, IMAGES = learner.BATCH, np.arange(prod(learner.SHAPE)).reshape(learner.SHAPE) % 251
LABELS = np.full(BATCH, 3)


def started(made: Executor) -> Executor:
    made.states.initialise(7)
    made.feed("train", "x", X)
    return made


@pytest.fixture
def towers() -> Iterator[CudaExecutor]:
    with opened() as made:
        started(made)
        yield made


def results(made: Executor, runs: int) -> dict[str, Array]:
    for _ in range(runs):
        made.run("train")
    values = {name: made.states.read(name) for name in made.states.names}
    return values | {name: made.output("train", name) for name in ("t0", "t1")}


def assert_same(one: dict[str, Array], other: dict[str, Array]) -> None:
    assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in other.items()}


# ---------------------------------------------------------------------------------- runs


@pytest.mark.parametrize("peers", [True, False])
@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_binding_and_every_order_gives_the_same_bits(
    towers: CudaExecutor, binding: str, seed: int, peers: bool
) -> None:
    expected = results(towers, 5)
    with opened(binding=binding, driver=simulated(seed=seed, peers=peers)) as made:
        assert_same(results(started(made), 5), expected)


def test_it_computes_what_the_plan_says(towers: CudaExecutor) -> None:
    weight, momentum = (towers.states.read(name) for name in ("x.weight", "x.weight.momentum"))
    got = results(towers, 9)["x.weight"]
    np.testing.assert_array_equal(got, reference(weight, momentum, 9))


@cases(full=300, sample=20)
@given(made=steps(), seed=st.integers(0, 99), peers=st.booleans())
def test_random_programs_compute_what_numpy_does(
    made: tuple[Step, ...], seed: int, peers: bool
) -> None:
    plan, expected = on_gpus(random_plan(made), "cuda:0,cuda:0,cuda:0"), random_reference(made)
    check(plan, None)
    for binding in ("cuda:0,cuda:1,cuda:2", "cuda:0,cuda:1,cuda:0"):
        driver = simulated(3, seed=seed, peers=peers)
        with CudaExecutor(plan, folder(), bind(plan, binding), driver) as executor:
            for device, arena in enumerate(START):
                for place, value in enumerate(arena):
                    executor.feed("all", f"x{device}{place}", value)
            for _ in range(3):
                outputs = executor.run("all")()
                got = [outputs[each.name] for each in plan.programs["all"].outputs]
                np.testing.assert_array_equal(np.reshape(got, START.shape), expected)


def test_programs_take_turns_and_constants_are_put_back(towers: CudaExecutor) -> None:
    with opened() as other:
        expected = results(started(other), 4)
    towers.feed("evaluate", "x", 3 * X)
    for _ in range(4):
        towers.run("train")
        towers.run("evaluate")  # it overwrites a constant of train
        np.testing.assert_array_equal(towers.output("evaluate", "y"), 1.5 * X)
    np.testing.assert_array_equal(towers.states.read("x.weight"), expected["x.weight"])


def test_steps_one_by_one_are_a_run(towers: CudaExecutor) -> None:
    with opened() as other:
        started(other).begin("train")
        for index in range(len(other.plan.programs["train"].steps)):
            other.step("train", index)
        got = results(other, 2)
    assert_same(got, results(towers, 3))


# --------------------------------------------------------------------------------- ahead


@pytest.mark.parametrize("seed", SEEDS)
def test_each_run_gets_its_own_feeds_and_gives_its_own_outputs(seed: int) -> None:
    with opened(driver=simulated(seed=seed)) as made:
        outputs = []
        for number in range(6):
            made.feed("evaluate", "x", np.full(SIZE, number, np.float32))
            outputs.append(made.run("evaluate"))
        for number, each in enumerate(outputs):
            np.testing.assert_array_equal(each()["y"], np.full(SIZE, number / 2))


def test_runs_are_started_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = simulated()
    with opened(driver=driver) as made:
        started(made)
        for outputs in [made.run("train") for _ in range(2)]:
            outputs()
        with monkeypatch.context() as patch:
            patch.setattr(driver, "_until", lambda done: pytest.fail("waits"))
            driver.calls.clear()
            for _ in range(made.ahead + 1):
                made.feed("train", "x", X)
                made.run("train")
            assert driver.calls == ["replay", "replay"]
        got = results(made, 1)
    with opened() as other:
        assert_same(got, results(started(other), 5))


def test_a_graph_is_made_once_for_each_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, made = simulated(), list[Stream]()
    begin = driver.begin_capture

    def counted(stream: Stream) -> None:
        made.append(stream)
        begin(stream)

    monkeypatch.setattr(driver, "begin_capture", counted)
    with opened(driver=driver) as executor:
        results(started(executor), 7)
    assert len(made) == 2


def test_feeds_that_lie_together_travel_together() -> None:
    train = two_devices().programs["train"]
    beside = [
        replace(f, tensor=replace(f.tensor, name="z", offset=f.tensor.offset + BYTES), logical="z")
        for f in train.feeds
    ]
    apart, both = Mail(train, 0), Mail(replace(train, feeds=(*beside, *train.feeds)), 0)
    assert [(b.place, b.offset, b.bytes) for b in apart.bundles()] == [(0, 2 * BYTES, BYTES)]
    assert [(b.place, b.offset, b.bytes) for b in both.bundles()] == [(0, 2 * BYTES, 2 * BYTES)]


@pytest.mark.parametrize("seed", SEEDS)
def test_programs_with_other_feeds_take_turns(seed: int) -> None:
    """Where one's feeds are staged, another's were; states go from device to device."""

    def trained(made: Executor, *, evaluate: bool) -> dict[str, Array]:
        made.states.initialise(1)
        fed = {"images": IMAGES.astype(np.uint8), "labels": LABELS, "weights": np.ones(BATCH)}
        for name, value in fed.items():
            made.feed("train", name, value)
            made.feed("evaluate", name, 0 * value)
        made.feed("train", "x.weight.rate", 0.125)
        made.feed("train", "momentum", 0.5)
        found = {}
        for number in range(6):
            loss = made.run("train")
            for _ in range(evaluate * number % 3):
                assert made.run("evaluate")()["top1"] == 0
            found[f"loss{number}"] = loss()["loss"]
        return found | {name: made.states.read(name) for name in made.states.names}

    plan = learner.learner()
    with opened(plan) as one, opened(plan, driver=simulated(seed=seed)) as other:
        assert_same(trained(one, evaluate=False), trained(other, evaluate=True))


# ------------------------------------------------------------------------------- profile


@pytest.mark.parametrize("peers", [True, False])
@pytest.mark.parametrize("binding", BINDINGS)
def test_the_watch_sees_every_step_of_every_device(binding: str, peers: bool) -> None:
    seen: list[Event] = []
    with opened(binding=binding, driver=simulated(peers=peers)) as made:
        started(made).run("train", seen.append)
        got = results(made, 2)
    with opened() as other:
        assert_same(got, results(started(other), 3))
    sides = 1 if binding == TOGETHER else 2
    assert len(seen) == 12 + 2 * sides
    for device in (0, 1):
        kernels = [e for e in seen if e.device == device and not isinstance(e.step, Move)]
        assert [e.step.index for e in kernels] == sorted(e.step.index for e in kernels)
        assert all(a.start < a.end <= b.start for a, b in pairwise(kernels))


def test_what_a_watch_raises_is_raised(towers: CudaExecutor) -> None:
    def watch(event: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        towers.run("train", watch)
    towers.states.initialise(7)
    with opened() as other:
        assert_same(results(towers, 2), results(started(other), 2))


# -------------------------------------------------------------------------------- states


def test_states_are_read_as_they_were_written(towers: CudaExecutor) -> None:
    value = np.arange(120, dtype=np.float32).reshape(120, 1)
    towers.run("train")
    towers.states.write("x.weight", value)
    np.testing.assert_array_equal(towers.states.read("x.weight"), value)
    lying = [arena.read(0, 4 * SIZE).view(np.float32) for arena in towers.memories]
    np.testing.assert_array_equal(lying, halves(value))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("binding", BINDINGS)
def test_states_are_written_after_what_was_started(binding: str, seed: int) -> None:
    value = np.arange(120, dtype=np.float32).reshape(120, 1)

    with opened() as other:
        results(started(other), 2)
        other.states.write("x.weight", value)
        expected = results(other, 1)
    with opened(binding=binding, driver=simulated(seed=seed)) as made:
        started(made)
        for _ in range(2):
            made.run("train")
        for state in reversed(made.plan.states):
            if state.kind == "param":
                part = value[state.start[0] :][: state.tensor.layout.shape[0]]
                made.write(state.tensor, part)
        assert_same(results(made, 1), expected)


def test_states_go_from_cpus_to_gpus() -> None:
    with plans.opened() as cpu, opened() as gpu:
        for made in (cpu, gpu):
            made.states.initialise(3)
        for name in cpu.states.names:
            np.testing.assert_array_equal(cpu.states.read(name), gpu.states.read(name))


# -------------------------------------------------------------------------------- refusal


@pytest.mark.parametrize(
    ("binding", "complaint"),
    [
        ("cpu:0,cpu:1", "'cpu:0' cannot run what was built for cuda, expected cuda:0, cuda:1"),
        ("cuda:0", "1 named, expected 2 as in the plan"),
        ("cuda:0,cuda:7", "cuda:7 does not exist"),
    ],
)
def test_an_impossible_binding_is_refused(binding: str, complaint: str) -> None:
    driver = simulated()
    with pytest.raises(Error, match=complaint):
        opened(binding=binding, driver=driver)


def test_what_cannot_be_opened_is_closed() -> None:
    driver = simulated()
    with pytest.raises(Error):
        opened(binding="cuda:0,cuda:7", driver=driver)
    assert driver.closed


def test_another_architecture_is_refused() -> None:
    driver = simulated()
    driver._gpus = [Gpu("Another", "sm_120")] * 2
    with pytest.raises(
        Error, match="built for sm_80, sm_90a; build it with --arch sm_120"
    ) as caught:
        opened(driver=driver)
    assert "\n" not in str(caught.value)


def test_a_gpu_with_less_shared_memory_than_the_binary_takes_is_refused() -> None:
    driver = simulated()
    driver._gpus = [Gpu("Small", "sm_86")] * 2
    takes = "cuda:0 is Small, sm_86, with 101,376 .* kernel add takes 122,880; .*--arch sm_86"
    with pytest.raises(Error, match=takes):
        opened(driver=driver)


def test_a_binary_changed_after_the_build_is_refused() -> None:
    plan = on_gpus(two_devices())
    code: Any = plan.kernels["add"].code
    changed = {arch: replace(each, sha256="0" * 64) for arch, each in code.binaries.items()}
    kernel = replace(plan.kernels["add"], code=Cubins(changed))
    with pytest.raises(Error, match="has sha256"):
        opened_as(replace(plan, kernels={**plan.kernels, "add": kernel}))


def opened_as(plan: Plan) -> CudaExecutor:
    return CudaExecutor(plan, folder(), bind(plan, None), simulated())


def test_a_binary_without_the_function_is_refused() -> None:
    plan = on_gpus(two_devices())
    code: Any = plan.kernels["add"].code
    cubin = code.binaries[GPU.arch]
    launches = tuple(replace(launch, symbol="double") for launch in cubin.launches)
    renamed = Cubins({**code.binaries, GPU.arch: replace(cubin, launches=launches)})
    kernel = replace(plan.kernels["add"], code=renamed)
    with pytest.raises(Error, match=r"cannot be loaded onto cuda:0: .*NOT_FOUND"):
        opened_as(replace(plan, kernels={**plan.kernels, "add": kernel}))


def test_too_large_a_plan_is_refused_with_what_is_needed() -> None:
    room = REST + 20 * BYTES  # of 7 for the arena, 1 of scratch, 2 for feeds, twice
    with opened(binding=TOGETHER, driver=simulated(room=room)):
        pass
    with pytest.raises(
        DoesNotFit, match=r"on cuda:0.*expected a batch of about 48 or less"
    ) as caught:
        opened(binding=TOGETHER, driver=simulated(room=REST + 16 * BYTES))
    assert caught.value.exit == Exit.NO_FIT
    table = str(caught.value)
    for row in ("arena of device 0", "arena of device 1", "scratch", "feeds", "in all", "free"):
        assert row in table


def test_what_does_not_fit_after_all_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = simulated(room=9 * BYTES)
    monkeypatch.setattr(driver, "free", lambda gpu: 10**9)
    with pytest.raises(DoesNotFit, match="OUT_OF_MEMORY"):
        opened(driver=driver)
    assert driver.closed
