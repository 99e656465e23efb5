"""Plans run: the same bits for every binding, errors said in one line, nobody left waiting."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import active_count
from typing import Any

import msgspec
import numpy as np
import pytest

from ir.command import DataError, Error, Exit
from ir.op import Array
from ir.plan import Feed, Layout, Plan, Program, Tensor, write
from runtime.device import DoesNotFit, Physical, bind
from runtime.executor import Event, Executor
from runtime.feeds import Feeds
from runtime.transfer import Halted
from tests.plans import SIZE, compiled, one_device, two_devices

BINDINGS = ["cpu:0,cpu:1", "cpu:0,cpu:0", "cpu:3,cpu:1"]
X = np.linspace(-1, 1, SIZE, dtype=np.float32)


def executor(plan: Plan | None = None, **options: Any) -> Executor:
    return Executor(plan or two_devices(), compiled(), **options)


@pytest.fixture
def towers() -> Iterator[Executor]:
    with executor() as made:
        made.states.initialise(7)
        made.feed("train", "x", X)
        yield made


def results(made: Executor, runs: int) -> dict[str, Array]:
    for _ in range(runs):
        made.run("train")
    values = {name: made.states.read(name) for name in made.states.names}
    return values | {name: made.output("train", name) for name in ("t0", "t1")}


def padded(value: Array) -> Array:
    """Both pieces of a state as they lie in memory."""
    return np.stack([np.pad(half, (0, 4)) for half in value.reshape(2, -1)])


def reference(weight: Array, momentum: Array, runs: int) -> Array:
    """x.weight after some runs, in NumPy, on the same bits."""
    w, m = padded(weight), padded(momentum)
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
    with executor(binding=binding, threads=threads) as made:
        made.states.initialise(7)
        made.feed("train", "x", X)
        got = results(made, 5)
    assert {name: value.tobytes() for name, value in got.items()} == {
        name: value.tobytes() for name, value in expected.items()
    }


def test_it_computes_what_the_plan_says(towers: Executor) -> None:
    start = [towers.states.read(name) for name in ("x.weight", "x.weight.momentum")]
    got = results(towers, 9)["x.weight"]
    # The kernels fuse a product and a sum into one rounding, NumPy does not.
    np.testing.assert_allclose(got, reference(*start, 9), rtol=1e-5, atol=1e-6)


def test_programs_share_states_and_may_take_turns(towers: Executor) -> None:
    with executor() as other:
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
    with executor() as other:
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
    with executor(binding=binding) as made:
        made.feed("train", "x", X)
        made.run("train", seen.append)
    sides = 1 if binding == "cpu:0,cpu:0" else 2
    assert len(seen) == 12 - 2 + 2 * sides
    for device in (0, 1):
        events = [event for event in seen if event.device == device]
        assert [e.step.index for e in events] == sorted(e.step.index for e in events)
        assert all(a.start <= a.end <= b.start for a, b in zip(events, events[1:], strict=False))


# -------------------------------------------------------------------------------- faults


class Boom(Exception):
    pass


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("device", [0, 1])
def test_an_exception_in_one_device_stops_all_and_is_raised(binding: str, device: int) -> None:
    def watch(event: Event) -> None:
        if event.device == device and event.step.index == index:
            raise Boom

    with executor(binding=binding) as made:
        made.states.initialise(7)
        made.feed("train", "x", X)
        expected = results(made, 1)
        for index in [s.index for s in made.plan.programs["train"].steps]:
            seen: list[Event] = []
            made.run("train", seen.append)
            if any(e.device == device and e.step.index == index for e in seen):
                with pytest.raises(Boom):
                    made.run("train", watch)
        made.states.initialise(7)
        for name in ("x.weight", "t0"):
            np.testing.assert_array_equal(results_again(made)[name], expected[name])


def results_again(made: Executor) -> dict[str, Array]:
    made.states.initialise(7)
    return results(made, 1)


def test_an_interrupt_stops_all_and_is_raised(towers: Executor) -> None:
    def watch(event: Event) -> None:
        if event.device == 1 and event.step.index == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        towers.run("train", watch)
    towers.states.initialise(7)
    results(towers, 2)


def test_whoever_waits_for_a_stopped_device_is_told(towers: Executor) -> None:
    meeting = towers._machine.meetings[0, 1]
    meeting.halt()
    with pytest.raises(Halted):
        meeting.send()


def test_threads_end_with_the_executor() -> None:
    before = active_count()
    with executor() as made:
        made.feed("train", "x", X)
        made.run("train")
        assert active_count() == before + 2
    assert active_count() == before


# ------------------------------------------------------------------------------ bindings


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"binding": "cpu:0"}, "--devices cpu:0: 1 named, expected 2 as in the plan"),
        ({"binding": "cpu:0,cpu:0,cpu:0"}, ": 3 named, expected 2 as in the plan"),
        ({"binding": "cpu:0,gpu:1"}, "unknown device 'gpu:1', expected cpu:0, cpu:1, ..."),
        ({"binding": "cuda:0,cuda:0"}, "unknown device 'cuda:0', expected cpu:0, cpu:1, ..."),
        ({"binding": ""}, "unknown device ''"),
        ({"threads": 0}, "--threads 0: expected at least 1"),
    ],
)
def test_an_impossible_binding_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Error) as caught:
        executor(**options)
    assert complaint in str(caught.value)


def test_threads_are_shared_out() -> None:
    def shares(names: str, threads: int) -> list[tuple[tuple[int, ...], int]]:
        bound = bind(names.split(","), names.count(",") + 1, threads)
        return [(physical.logical, physical.threads) for physical in bound]

    assert shares("cpu:0,cpu:1", 8) == [((0,), 4), ((1,), 4)]
    assert shares("cpu:0,cpu:1", 5) == [((0,), 2), ((1,), 3)]
    assert shares("cpu:0,cpu:1", 1) == [((0,), 1), ((1,), 1)]
    assert shares("cpu:0,cpu:0", 8) == [((0, 1), 8)]
    assert shares("cpu:1,cpu:0,cpu:1", 2) == [((0, 2), 1), ((1,), 1)]
    assert bind(["cpu:0"], 1, None) == (Physical("cpu:0", (0,), len(os.sched_getaffinity(0))),)


def test_too_large_a_plan_is_refused() -> None:
    plan = one_device()
    large = msgspec.structs.replace(plan.devices[0], arena=2**45)
    with pytest.raises(DoesNotFit, match=r"needs 35184\.37 GB of memory") as caught:
        executor(msgspec.structs.replace(plan, devices=(large,)))
    assert caught.value.exit == Exit.NO_FIT


def test_a_kernel_changed_after_the_check_is_refused(tmp_path: Path) -> None:
    shutil.copytree(compiled(), tmp_path / "plan")
    file = tmp_path / "plan" / "lib" / "halve.so"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(Error, match="has sha256"):
        Executor(one_device(), tmp_path / "plan")
    file.unlink()
    with pytest.raises(Error, match="cannot be read"):
        Executor(one_device(), tmp_path / "plan")


def test_a_library_without_the_kernel_is_refused() -> None:
    plan = one_device()
    kernel = msgspec.structs.replace(plan.kernels["halve"], symbol="double")
    with pytest.raises(Error, match=r"halve\.so: cannot be loaded, expected 'double'") as caught:
        executor(msgspec.structs.replace(plan, kernels={"halve": kernel}))
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------- feeds


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("y", X, "feed 'y' is unknown, expected one of labels, rate, seed, x"),
        ("x", X[1:], "feed 'x': shape [63], expected [64]"),
        ("x", X[:, None], "feed 'x': shape [64, 1], expected [64]"),
        ("x", X.astype(np.int32), "feed 'x': int32, expected float32"),
        ("x", X.astype(complex), "feed 'x': complex128, expected float32"),
        ("labels", np.zeros(3), "feed 'labels': float64, expected int32"),
        ("labels", np.array([0, 10, 1]), "feed 'labels': 10 at [1], expected integers in [0, 10)"),
        ("labels", np.array([0, 1, -1]), "feed 'labels': -1 at [2], expected integers in [0, 10)"),
        ("seed", -1, "feed 'seed': -1, expected integers in [0, 4294967296)"),
        ("seed", 2**32, "feed 'seed': 4294967296, expected integers in [0, 4294967296)"),
        ("seed", 0.5, "feed 'seed': float64, expected uint32"),
        ("rate", "fast", "feed 'rate': <U4, expected float32"),
        ("rate", None, "feed 'rate': object, expected float32"),
    ],
)
def test_what_does_not_fit_a_feed_is_refused(name: str, value: Any, complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        FEEDS.pack(name, value)
    assert str(caught.value) == complaint


def _feed(name: str, dtype: Any, shape: tuple[int, ...], below: int = 0) -> Feed:
    layout = Layout(shape=shape, padded=shape, splits=(), order=tuple(range(len(shape))))
    return Feed(
        tensor=Tensor(name=name, device=0, offset=0, bytes=0, dtype=dtype, layout=layout),
        logical=name,
        below=below,
    )


FEEDS = Feeds(
    Program(
        batch=1,
        feeds=(
            _feed("x", "f32", (64,)),
            _feed("labels", "i32", (3,), 10),
            _feed("rate", "f32", ()),
            _feed("seed", "u32", ()),
        ),
        fills=(),
        steps=(),
        outputs=(),
    )
)


@pytest.mark.parametrize(
    ("name", "value", "packed"),
    [
        ("x", X.astype(np.float64), X),
        ("labels", [9, 0, 1], np.array([9, 0, 1], np.int32)),
        ("rate", 1, np.array([1], np.float32)),
        ("rate", 0.1, np.array([0.1], np.float32)),
        ("seed", 2**32 - 1, np.array([2**32 - 1], np.uint32)),
    ],
)
def test_what_fits_a_feed_is_converted(name: str, value: Any, packed: Array) -> None:
    (part,) = FEEDS.pack(name, value).parts
    assert part.dtype == packed.dtype
    np.testing.assert_array_equal(part, packed)


def test_a_feed_that_is_missing_is_named(towers: Executor) -> None:
    with pytest.raises(Error, match="program evaluate: 'x' was never fed, expected a value"):
        towers.run("evaluate")


def test_an_unknown_output_is_named(towers: Executor) -> None:
    towers.run("train")
    with pytest.raises(Error, match="output 'loss' is unknown, expected one of t0, t1"):
        towers.output("train", "loss")


def test_a_feed_may_be_packed_ahead(towers: Executor) -> None:
    packed = towers.pack("evaluate", "x", X)
    towers.feed("evaluate", "x", packed)
    towers.run("evaluate")
    np.testing.assert_array_equal(towers.output("evaluate", "y"), X * np.float32(0.5))
    with pytest.raises(ValueError, match="was packed for"):
        towers.feed("train", "x", packed)


# -------------------------------------------------------------------------------- states


def test_initial_states_do_not_depend_on_the_split() -> None:
    with executor() as split, executor(one_device()) as whole:
        for made in (split, whole):
            made.states.initialise(5)
        assert split.states.names == whole.states.names == ("x.weight", "x.weight.momentum")
        assert split.states.parameters == {"x.weight"}
        for name in split.states.names:
            np.testing.assert_array_equal(split.states.read(name), whole.states.read(name))
        weight = split.states.read("x.weight")
        assert 0.4 < weight.std() < 0.6
        split.states.initialise(6)
        assert not np.array_equal(split.states.read("x.weight"), weight)


def test_states_are_read_as_they_were_written(towers: Executor) -> None:
    value = np.arange(120, dtype=np.float32).reshape(120, 1)
    towers.states.write("x.weight", value)
    np.testing.assert_array_equal(towers.states.read("x.weight"), value)
    lying = [towers.memory(device)[: 4 * SIZE].view(np.float32) for device in (0, 1)]
    np.testing.assert_array_equal(lying, padded(value))
    with pytest.raises(ValueError, match=r"x.weight: float64\[120, 1\], expected float32"):
        towers.states.write("x.weight", value.astype(float))


def test_copies_of_a_state_are_all_written() -> None:
    plan = two_devices()
    copies = tuple(
        msgspec.structs.replace(state, start=(0, 0), whole=(60, 1)) for state in plan.states
    )
    with executor(msgspec.structs.replace(plan, states=copies)) as made:
        value = np.arange(60, dtype=np.float32).reshape(60, 1)
        made.states.write("x.weight", value)
        for device in (0, 1):
            np.testing.assert_array_equal(made.memory(device)[:240].view(np.float32), value[:, 0])


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
from runtime.executor import Executor

path = Path(sys.argv[1])
with Executor(read(path), folder(path), threads=2) as made:
    made.feed("train", "x", np.ones(64, np.float32))
    made.run("train")
    assert (made.output("train", "y") == 0.5).all()
assert not [name for name in sys.modules if name.split(".")[0] in ("tvm", "codegen", "passes")]
"""


def test_the_compiler_is_not_needed(tmp_path: Path) -> None:
    shutil.copytree(compiled(), tmp_path / "plan")
    write(one_device(), tmp_path / "plan.json")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, str(tmp_path / "plan.json")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
