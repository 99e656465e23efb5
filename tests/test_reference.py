"""What single ops mean: their formulas written out as loops, known answers, edge cases."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import copysign, floor
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir.graph import Node
from ir.op import Absent, Array
from ir.ops import TABLE
from ir.ops.precision import rounded
from ir.ops.random import philox, random_words
from tests.counts import cases
from tests.graphs import SEEDS
from tests.op_cases import Case, draw_case

NOTHING = (0, 0, 0, 0)


def ref(op: str, *operands: npt.ArrayLike, **attrs: Any) -> Array:
    """The reference of an op, defaults of its attributes filled in."""
    row = TABLE[op]
    assert not isinstance(row.reference, Absent)
    return np.asarray(row.reference(*map(np.asarray, operands), **row.check_attrs(attrs)))


def ints(node: Node, attr: str) -> tuple[int, ...]:
    value = node.attrs[attr]
    assert isinstance(value, tuple)
    return value


# ---------------------------------------------------------------------------- windows


def pixels(case: Case, window: tuple[int, ...], i: int, j: int) -> list[tuple[int, int, int, int]]:
    """The taps (r, s) of the window at (i, j) that meet a pixel, and the pixel."""
    stride, pad = ints(case.node, "stride"), ints(case.node, "pad")
    height, width = case.values[0].shape[2:]
    met = (
        (r, s, i * stride[0] + r - pad[0], j * stride[1] + s - pad[2])
        for r, s in product(range(window[0]), range(window[1]))
    )
    return [(r, s, h, w) for r, s, h, w in met if 0 <= h < height and 0 <= w < width]


@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_conv_is_its_formula(seed: int) -> None:
    case = draw_case("conv", Random(seed), exact=True)
    x, w = case.values
    groups = case.node.attrs["groups"]
    assert isinstance(groups, int)
    y = np.zeros(case.node.type.shape)
    for n, o, i, j in np.ndindex(*y.shape):
        first = o // (w.shape[0] // groups) * w.shape[1]
        for r, s, h, v in pixels(case, w.shape[2:], i, j):
            y[n, o, i, j] += x[n, first : first + w.shape[1], h, v] @ w[o, :, r, s]
    np.testing.assert_allclose(ref("conv", x, w, **case.node.attrs), y, rtol=1e-12, atol=1e-12)


@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_local_is_its_formula(seed: int) -> None:
    case = draw_case("local", Random(seed), exact=True)
    x, w = case.values
    y = np.zeros(case.node.type.shape)
    for n, o, i, j in np.ndindex(*y.shape):
        for r, s, h, v in pixels(case, w.shape[4:], i, j):
            y[n, o, i, j] += x[n, :, h, v] @ w[o, i, j, :, r, s]
    np.testing.assert_allclose(ref("local", x, w, **case.node.attrs), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_pools_read_real_pixels_only(op: str, seed: int) -> None:
    case = draw_case(op, Random(seed), exact=True)
    x = case.values[0]
    y = np.zeros(case.node.type.shape)
    for n, c, i, j in np.ndindex(*y.shape):
        met = [x[n, c, h, v] for _, _, h, v in pixels(case, ints(case.node, "window"), i, j)]
        y[n, c, i, j] = max(met) if op == "max_pool" else sum(met) / len(met)
    np.testing.assert_allclose(ref(op, x, **case.node.attrs), y, rtol=1e-14)


@pytest.mark.parametrize("ties", ["all", "first"])
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_tied_maxima_share_as_told(ties: str, seed: int) -> None:
    case = draw_case("max_pool_dx", Random(seed), exact=True)
    x, dy = np.rint(case.values[0]), case.values[1]
    dx = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(*dy.shape):
        met = [(h, v) for _, _, h, v in pixels(case, ints(case.node, "window"), i, j)]
        top = [place for place in met if x[n, c, *place] == max(x[n, c, *p] for p in met)]
        for h, v in top if ties == "all" else top[:1]:
            dx[n, c, h, v] += dy[n, c, i, j]
    attrs = {**case.node.attrs, "ties": ties}
    np.testing.assert_allclose(ref("max_pool_dx", x, dy, **attrs), dx, rtol=1e-14, atol=1e-14)


def test_tied_maxima_of_one_window() -> None:
    x, dy = [[[[1, 2, 0], [2, 2, 1]]]], [[[[5.0]]]]
    everyone = ref("max_pool_dx", np.asarray(x, float), dy, window=(2, 3))
    first = ref("max_pool_dx", np.asarray(x, float), dy, window=(2, 3), ties="first")
    assert everyone.tolist() == [[[[0, 5, 0], [5, 5, 0]]]]
    assert first.tolist() == [[[[0, 5, 0], [0, 0, 0]]]]


# ---------------------------------------------------------------------------- norms


@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_lrn_is_its_formula(seed: int) -> None:
    case = draw_case("lrn", Random(seed), exact=True)
    x, a = case.values[0], dict(case.node.attrs)
    in_group = x.shape[1] // int(a["groups"])  # type: ignore[arg-type]
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        near = [
            x[:, o] ** 2
            for o in range(x.shape[1])
            if o // in_group == c // in_group and inside(o - c, a["size"])
        ]
        y[:, c] = x[:, c] * (a["k"] + a["alpha"] * sum(near)) ** -a["beta"]  # type: ignore
    np.testing.assert_allclose(ref("lrn", x, **a), y, rtol=1e-12)


@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_spatial_lrn_is_its_formula(seed: int) -> None:
    case = draw_case("spatial_lrn", Random(seed), exact=True)
    x, a = case.values[0], dict(case.node.attrs)
    y = np.zeros(x.shape)
    for i, j in np.ndindex(*x.shape[2:]):
        near = [
            x[:, :, h, v] ** 2
            for h, v in np.ndindex(*x.shape[2:])
            if inside(h - i, a["size"]) and inside(v - j, a["size"])
        ]
        y[:, :, i, j] = x[:, :, i, j] * (a["k"] + a["alpha"] * sum(near)) ** -a["beta"]  # type: ignore
    np.testing.assert_allclose(ref("spatial_lrn", x, **a), y, rtol=1e-12)


def inside(distance: int, size: object) -> bool:
    """Whether a window of this size, begun size // 2 before its centre, reaches so far."""
    assert isinstance(size, int)
    return -(size // 2) <= distance < size - size // 2


def test_an_even_window_reaches_back_farther_than_ahead() -> None:
    x = np.zeros((1, 5, 1, 1))
    x[0, 2] = 1
    d = {"size": 2, "k": 1.0, "alpha": 1.0, "beta": 1.0}
    # Only maps 2 and 3 have map 2 in their windows, and map 3 holds nothing to be scaled.
    assert ref("lrn", x, **d).ravel().tolist() == [0, 0, 0.5, 0, 0]
    x[0, 1] = x[0, 3] = 1
    assert ref("lrn", x, **d).ravel().tolist() == [0, 0.5, 1 / 3, 1 / 3, 0]


@pytest.mark.parametrize("op", ["lrn", "lrn_dx"])
def test_a_group_never_sees_another(op: str) -> None:
    noise = np.random.default_rng(0)
    operands = [noise.standard_normal((1, 6, 2, 2)) for _ in TABLE[op].operands]
    attrs = {"size": 5, "k": 1.0, "alpha": 1.0, "beta": 0.75, "groups": 2}
    before = ref(op, *operands, **attrs)
    for operand in operands:
        operand[:, 3:] += 1
    after = ref(op, *operands, **attrs)
    assert (before[:, :3] == after[:, :3]).all()
    assert (before[:, 3:] != after[:, 3:]).all()


# ---------------------------------------------------------------------------- loss


@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_weight_0_leaves_an_image_out(seed: int) -> None:
    noise = np.random.default_rng(seed)
    logits, labels = noise.standard_normal((5, 4)), noise.integers(0, 4, 5)
    present = np.flatnonzero(noise.integers(0, 2, 5))
    if present.size == 0:
        present = np.asarray([2])
    weights = np.zeros(5)
    weights[present] = 1
    part = logits[present], labels[present], np.ones(present.size)
    for op in ("cross_entropy", "accuracy"):
        assert ref(op, logits, labels, weights) == pytest.approx(ref(op, *part), rel=1e-14)
    dx = ref("cross_entropy_dx", logits, labels, weights, 2.0)
    np.testing.assert_allclose(dx[present], ref("cross_entropy_dx", *part, 2.0), rtol=1e-14)
    assert not dx[weights == 0].any()


def test_a_loss_over_no_images_is_0() -> None:
    nobody = [[1.0, 2.0]], [0], [0.0]
    assert ref("cross_entropy", *nobody) == 0
    assert ref("accuracy", *nobody) == 0
    assert not ref("cross_entropy_dx", *nobody, 1.0).any()


def test_cross_entropy_is_a_weighted_mean_in_nats() -> None:
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    logits += np.asarray([[3000.0], [-7000.0]])
    expected = (3 * -np.log(0.25) + 1 * -np.log(0.8)) / 4
    assert ref("cross_entropy", logits, [1, 2], [3.0, 1.0]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("logits", "top", "share"),
    [
        ([2, 1, 0], 1, 1),
        ([1, 2, 0], 1, 0),
        ([1, 2, 0], 2, 1),
        ([1, 1, 0], 1, 1 / 2),
        ([1, 1, 1], 1, 1 / 3),
        ([1, 1, 1], 2, 2 / 3),
        ([1, 2, 1], 2, 1 / 2),
        ([1, 1, 1], 5, 1),
        ([0, 1, 1], 2, 0),
        ([np.nan, 1, 0], 1, 0),
    ],
)
def test_ties_count_in_part(logits: list[float], top: int, share: float) -> None:
    row = np.asarray([logits], float)
    assert ref("accuracy", row, [0], [0.5], top=top) == pytest.approx(share)


# ---------------------------------------------------------------------------- updates


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_the_update_is_the_papers(rate: float) -> None:
    v, w, g = 3.0, 5.0, 7.0
    moved = ref("sgd_velocity", v, w, g, rate, 0.9, 0.1, decay_by=2.0)
    assert moved == pytest.approx(0.9 * 3 - 0.5 * (7 + 0.1 * 2 * 5) if rate else v)
    assert ref("sgd_weight", w, v, rate) == (w + v if rate else w)


def test_rate_0_freezes_even_what_is_not_finite() -> None:
    assert ref("sgd_velocity", 3.0, 5.0, np.nan, 0.0, 0.9, 0.1) == 3
    assert ref("sgd_weight", 5.0, np.nan, 0.0) == 5


@pytest.mark.parametrize(("keep", "total"), [(0.0, 7), (1.0, 10)])
def test_a_round_of_accumulation_starts_anew(keep: float, total: float) -> None:
    assert ref("accumulate", 3.0, 7.0, keep) == total


# ---------------------------------------------------------------------------- images


def test_crop_takes_each_image_from_its_offset() -> None:
    x = np.arange(2 * 3 * 4).reshape(2, 1, 3, 4)
    y = ref("crop", x, [[0, 1], [1, 2]], [0, 1], size=(2, 2))
    assert y.tolist() == [[[[1, 2], [5, 6]]], [[[19, 18], [23, 22]]]]


# ---------------------------------------------------------------------------- randomness


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000",
         "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
         "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, words: str) -> None:
    start = tuple(np.asarray([int(word, 16)], np.uint32) for word in counter.split())
    k0, k1 = (int(word, 16) for word in key.split())
    assert " ".join(f"{int(word[0]):08x}" for word in philox(start, (k0, k1))) == words


def test_an_element_has_its_word_of_its_block() -> None:
    element, seed, stream, step = 4 * 2**33 + 3, 11, 22, 33
    counter = tuple(np.asarray([c], np.uint32) for c in (0, 2, step, 0))
    word = random_words(np.asarray([element], np.uint64), seed, stream, step)
    assert word[0] == philox(counter, (seed, stream))[3][0]


@cases(full=100, sample=15)
@given(seed=SEEDS, data=st.data())
def test_a_shard_drops_what_the_whole_drops_there(seed: int, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    offset = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    size = tuple(data.draw(st.integers(1, n - o)) for n, o in zip(shape, offset, strict=True))
    part = tuple(slice(o, o + n) for o, n in zip(offset, size, strict=True))
    key = np.uint32(seed), np.uint32(5)
    whole = ref("dropout", np.ones(shape), *key, p=0.5, stream=7)
    shard = ref("dropout", np.ones(size), *key, p=0.5, stream=7, whole=shape, offset=offset)
    assert (whole[part] == shard).all()


def test_masks_differ_by_seed_step_and_stream() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    masks = [
        ref("dropout", np.ones(256), np.uint32(a), np.uint32(b), p=0.5, stream=c)
        for a, b, c in keys
    ]
    assert all(0.3 < (a != b).mean() < 0.7 for i, a in enumerate(masks) for b in masks[:i])


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_leaves_the_rest(p: float) -> None:
    x = np.full(40_000, 3.0)
    y = ref("dropout", x, np.uint32(1), np.uint32(2), p=p, stream=3)
    assert set(y) <= {0.0, 3.0}
    assert abs((y == 0).mean() - p) <= 4 * (p * (1 - p) / x.size) ** 0.5


# ---------------------------------------------------------------------------- rounding


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("bf16", 1 + 2**-8, 1),
        ("bf16", 1 + 3 * 2**-8, 1 + 2**-6),
        ("bf16", 1 + 2**-8 + 2**-23, 1 + 2**-7),
        ("bf16", -1 - 2**-8, -1),
        ("bf16", 3.0e38, float.fromhex("0x1.c4p127")),
        ("bf16", float.fromhex("0x1.fffffep127"), np.inf),
        ("bf16", 2.0**-149, 0),
        ("bf16", 2.0**-133, 2.0**-133),
        ("tf32", 1 + 2**-11, 1 + 2**-10),
        ("tf32", -1 - 2**-11, -1 - 2**-10),
        ("tf32", 1 + 3 * 2**-11, 1 + 2**-9),
        ("tf32", 1 + 2**-11 - 2**-23, 1),
        ("tf32", 1 + 2**-11 + 2**-23, 1 + 2**-10),
        ("tf32", 1 / 3, 1365 / 4096),
        ("tf32", float.fromhex("0x1.fffffep127"), np.inf),
        ("tf32", 2.0**-137, 2.0**-136),
        ("tf32", 2.0**-138, 0),
        ("tf32", -np.inf, -np.inf),
        ("f32", 1 / 3, 1 / 3),
    ],
)
def test_rounding_is_to_nearest(form: str, value: float, expected: float) -> None:
    assert rounded(np.asarray(value), form) == expected


def _away(x: Fraction) -> int:
    """The nearest integer, of two the one further from zero."""
    return int(copysign(floor(abs(x) + Fraction(1, 2)), x))


NEAREST: dict[str, Callable[[Fraction], int]] = {"bf16": round, "tf32": _away}
"""How ties are broken."""


@pytest.mark.parametrize(("form", "bits"), [("bf16", 7), ("tf32", 10)])
@cases(full=500, sample=100)
@given(x=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_rounding_gives_the_nearest_short_number(form: str, bits: int, x: float) -> None:
    short = float(rounded(np.asarray([x], np.float32), form)[0])
    exponent = max(int(np.frexp(x)[1]) - 1, -126)
    unit = Fraction(2) ** (exponent - bits)
    nearest = NEAREST[form](Fraction(x) / unit) * unit
    assert short == float(nearest) if nearest < 2**128 and nearest > -(2**128) else np.isinf(short)


@pytest.mark.parametrize("form", ["bf16", "tf32"])
def test_rounding_keeps_nan_and_the_sign_of_zero(form: str) -> None:
    # The NaN of all ones is the one that rounding up would carry into a zero.
    bits = np.asarray([0x7FC00000, 0x7FFFFFFF, 0x80000000], np.uint32)
    short = rounded(bits.view(np.float32), form)
    assert np.isnan(short[:2]).all()
    assert short[2] == 0
    assert np.signbit(short[2])


@pytest.mark.parametrize("op", [op for op, row in TABLE.items() if "math" in row.attrs])
@cases(full=50, sample=10)
@given(seed=SEEDS)
def test_tf32_rounds_both_operands_first(op: str, seed: int) -> None:
    case = draw_case(op, Random(seed), exact=True)
    short = [rounded(value, "tf32") for value in case.values]
    exact = ref(op, *short, **case.node.attrs)
    assert (ref(op, *case.values, **{**case.node.attrs, "math": "tf32"}) == exact).all()
