"""What goes in and out: feeds, outputs, states."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir.command import DataError, Error
from ir.op import Array
from ir.ops.precision import rounded
from ir.plan import Feed, Layout, Program, Tensor
from runtime.devices import open_executor
from runtime.executor import Executor
from runtime.feeds import Feeds
from runtime.memory import as_bytes, decoded, encoded
from tests import learner
from tests.counts import cases
from tests.plans import SIZE, X, halves, one_device, opened, two_devices


@pytest.fixture
def towers() -> Iterator[Executor]:
    with opened() as made:
        made.states.initialise(7)
        made.feed("train", "x", X)
        yield made


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


NUMBERS = st.lists(st.floats(width=32), min_size=1, max_size=20)


@cases(full=500, sample=100)
@given(NUMBERS, st.booleans())
def test_numbers_in_bf16_are_those_of_the_oracle(numbers: list[float], scalar: bool) -> None:
    values = np.asarray(numbers[0] if scalar else numbers, np.float32)
    stored = encoded(values, "bf16")
    assert stored.dtype == np.uint16
    assert stored.shape == values.shape
    again = decoded(as_bytes(stored), "bf16").reshape(values.shape)
    expected = rounded(values, "bf16")
    np.testing.assert_array_equal(again, expected)
    assert (np.signbit(again) == np.signbit(expected)).all()
    assert (encoded(again, "bf16") == stored).all()


def test_no_nan_becomes_another_number() -> None:
    nan = np.asarray([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001], np.uint32)
    assert np.isnan(decoded(as_bytes(encoded(nan.view(np.float32), "bf16")), "bf16")).all()


def test_a_feed_in_bf16_is_rounded() -> None:
    narrow = Program(batch=1, feeds=(_feed("x", "bf16", (64,)),), fills=(), steps=(), outputs=())
    (part,) = Feeds(narrow).pack("x", X).parts
    np.testing.assert_array_equal(decoded(as_bytes(part), "bf16"), rounded(X, "bf16"))


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


def test_a_scalar_is_put_out_as_one() -> None:
    plan = learner.learner()
    with open_executor(plan, learner.compiled()) as made:
        images = np.zeros(learner.SHAPE, np.uint8)
        for name, value in (("images", images), ("labels", [3] * 16), ("weights", np.ones(16))):
            made.feed("evaluate", name, value)
        made.run("evaluate")
        assert made.output("evaluate", "top1").shape == ()
        assert made.output("evaluate", "top1") == np.float32(3 / 16)


# -------------------------------------------------------------------------------- states


def test_initial_states_do_not_depend_on_the_split() -> None:
    with opened() as split, opened(one_device()) as whole:
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
    lying = [arena.read(0, 4 * SIZE).view(np.float32) for arena in towers.memories]
    np.testing.assert_array_equal(lying, halves(value))
    with pytest.raises(ValueError, match=r"x.weight: float64\[120, 1\], expected float32"):
        towers.states.write("x.weight", value.astype(float))


def test_copies_of_a_state_are_all_written() -> None:
    plan = two_devices()
    copies = tuple(
        msgspec.structs.replace(state, start=(0, 0), whole=(60, 1)) for state in plan.states
    )
    with opened(msgspec.structs.replace(plan, states=copies)) as made:
        value = np.arange(60, dtype=np.float32).reshape(60, 1)
        made.states.write("x.weight", value)
        for device in (0, 1):
            np.testing.assert_array_equal(
                made.memories[device].read(0, 240).view(np.float32), value[:, 0]
            )
