"""Plans run: the same bits for every binding, what fails stops all, nobody is left waiting."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import active_count

import numpy as np
import pytest
from msgspec.structs import replace

from ir.command import Error
from ir.op import Array
from ir.plan import write
from runtime.cpu import processor
from runtime.cpu.transfer import Halted, Rendezvous
from runtime.executor import Event, Executor
from tests.plans import RUNTIME, SIZE, X, compiled, halves, one_device, opened

BINDINGS = ["cpu:0,cpu:1", "cpu:0,cpu:0", "cpu:3,cpu:1"]


@pytest.fixture
def towers() -> Iterator[Executor]:
    with opened() as made:
        made.states.initialise(7)
        made.feed("train", "x", X)
        yield made


def results(made: Executor, runs: int) -> dict[str, Array]:
    for _ in range(runs):
        made.run("train")
    values = {name: made.states.read(name) for name in made.states.names}
    return values | {name: made.output("train", name) for name in ("t0", "t1")}


def reference(weight: Array, momentum: Array, runs: int) -> Array:
    """x.weight after some runs, in NumPy, on the same bits."""
    w, m = halves(weight), halves(momentum)
    half, rate = np.float32(0.5), np.float32(0.125)
    for _ in range(runs):
        b = (X + w) * half
        t = (b[0] + b[1]) + np.float32(1)
        m = m * half - t * rate
        w = w * half - m * rate
    return np.ascontiguousarray(w[:, : SIZE - 4].reshape(weight.shape))


# ---------------------------------------------------------------------------------- runs


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("binding", BINDINGS)
def test_every_binding_and_thread_count_gives_the_same_bits(
    towers: Executor, binding: str, threads: int
) -> None:
    expected = results(towers, 5)
    with opened(binding=binding, threads=threads) as made:
        made.states.initialise(7)
        made.feed("train", "x", X)
        got = results(made, 5)
    assert {name: value.tobytes() for name, value in got.items()} == {
        name: value.tobytes() for name, value in expected.items()
    }


def test_it_computes_what_the_plan_says(towers: Executor) -> None:
    weight = towers.states.read("x.weight")
    momentum = towers.states.read("x.weight.momentum")
    got = results(towers, 9)["x.weight"]
    # The kernels fuse a product and a sum into one rounding, NumPy does not.
    np.testing.assert_allclose(got, reference(weight, momentum, 9), rtol=1e-5, atol=1e-6)


def test_programs_share_states_and_may_take_turns(towers: Executor) -> None:
    with opened() as other:
        other.states.initialise(7)
        other.feed("train", "x", X)
        expected = results(other, 4)
    towers.feed("evaluate", "x", 3 * X)
    for _ in range(4):
        towers.run("train")
        towers.run("evaluate")  # it overwrites a constant of train
        np.testing.assert_array_equal(towers.output("evaluate", "y"), 1.5 * X)
    np.testing.assert_array_equal(towers.states.read("x.weight"), expected["x.weight"])


def test_steps_one_by_one_are_a_run(towers: Executor) -> None:
    with opened() as other:
        other.states.initialise(7)
        other.feed("train", "x", X)
        other.begin("train")
        for index in range(len(other.plan.programs["train"].steps)):
            other.step("train", index)
        got = results(other, 2)
    expected = results(towers, 3)
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_watch_sees_every_step_of_every_device(binding: str) -> None:
    seen: list[Event] = []
    with opened(binding=binding) as made:
        made.feed("train", "x", X)
        made.run("train", seen.append)
    sides = 1 if binding == "cpu:0,cpu:0" else 2
    assert len(seen) == 12 + 2 * sides
    for device in (0, 1):
        events = [event for event in seen if event.device == device]
        assert [e.step.index for e in events] == sorted(e.step.index for e in events)
        assert all(a.start <= a.end <= b.start for a, b in pairwise(events))


# -------------------------------------------------------------------------------- faults


class Boom(Exception):
    pass


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("device", [0, 1])
def test_an_exception_in_one_device_stops_all_and_is_raised(binding: str, device: int) -> None:
    def watch(event: Event) -> None:
        if event.device == device and event.step.index == failing:
            raise Boom

    with opened(binding=binding) as made:
        made.feed("train", "x", X)
        seen: list[Event] = []
        made.run("train", seen.append)
        for failing in {event.step.index for event in seen if event.device == device}:  # noqa: B007
            with pytest.raises(Boom):
                made.run("train", watch)
        made.states.initialise(7)
        got = results(made, 1)["x.weight"]
    with opened() as other:
        other.states.initialise(7)
        other.feed("train", "x", X)
        np.testing.assert_array_equal(got, results(other, 1)["x.weight"])


def test_an_interrupt_stops_all_and_is_raised(towers: Executor) -> None:
    def watch(event: Event) -> None:
        if event.device == 1 and event.step.index == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    # A shell starts its background jobs with interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            towers.run("train", watch)
    finally:
        signal.signal(signal.SIGINT, before)
    towers.states.initialise(7)
    results(towers, 2)


def test_whoever_waits_for_a_stopped_device_is_told() -> None:
    meeting = Rendezvous()
    meeting.halt()
    with pytest.raises(Halted):
        meeting.send()


def test_threads_end_with_the_opened() -> None:
    before = active_count()
    with opened() as made:
        made.feed("train", "x", X)
        made.run("train")
        assert active_count() == before + 2
    assert active_count() == before


# ------------------------------------------------------------------------------- process


def test_resident_memory_stays_flat(towers: Executor) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1])

    for _ in range(20):
        towers.run("train")
    before = resident()
    for _ in range(200):
        towers.feed("train", "x", X)
        towers.run("train")
        towers.output("train", "t0")
    assert resident() <= before * 1.01


ALONE = """
import sys
from pathlib import Path
import numpy as np
from ir.plan import folder, read
from runtime.devices import open_executor

path = Path(sys.argv[1])
with open_executor(read(path), folder(path), threads=2) as made:
    made.feed("train", "x", np.ones(64, np.float32))
    made.run("train")
    assert (made.output("train", "y") == 0.5).all()
assert not [name for name in sys.modules if name.split(".")[0] in ("tvm", "codegen", "passes")]
"""


def alone(path: Path) -> "subprocess.CompletedProcess[str]":
    """Run the plan in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_processor_that_lacks_instructions_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(one_device(), target={"mcpu": "future", "vectors": "avx9000 avx8000"})
    if not processor.flags():
        monkeypatch.setattr(processor, "flags", lambda: {"avx"})
    with pytest.raises(Error, match="built for future, and this processor lacks avx8000, avx9000"):
        opened(plan)


def test_a_library_of_another_system_is_refused(tmp_path: Path) -> None:
    shutil.copytree(compiled(), tmp_path / "plan")
    (tmp_path / "plan" / RUNTIME).write_bytes(b"\x7fELF of another machine")
    write(one_device(tmp_path / "plan"), tmp_path / "plan.json")
    *_, said = alone(tmp_path / "plan.json").stderr.splitlines()
    assert said.startswith(f"ir.command.Error: {tmp_path / 'plan' / RUNTIME}: cannot be loaded, ")


def test_the_compiler_is_not_needed(tmp_path: Path) -> None:
    shutil.copytree(compiled(), tmp_path / "plan")
    write(one_device(), tmp_path / "plan.json")
    done = alone(tmp_path / "plan.json")
    assert (done.returncode, done.stderr) == (0, "")
