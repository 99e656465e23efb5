"""Scores: the tie rule is the op's, and what is summed up adds up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ir.op import Array
from ir.ops.loss import accuracy
from runtime.scores import LEAST, right, score
from tests.counts import cases


@st.composite
def answers(draw: st.DrawFn) -> tuple[Array, Array]:
    """Probabilities of few levels, so that many are equal, and labels."""
    images, classes = draw(st.integers(1, 12)), draw(st.integers(2, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = random.integers(0, 3, (images, classes)) + 1e-3
    labels = random.integers(0, classes, images).astype(np.int32)
    return weights / weights.sum(axis=1, keepdims=True), labels


@cases(full=300, sample=40)
@given(answers(), st.sampled_from((1, 5)))
def test_an_image_counts_as_the_op_accuracy_counts_it(case: tuple[Array, Array], top: int) -> None:
    for row, label, found in zip(*case, right(*case, top), strict=True):
        one = accuracy(row[None], label[None], np.ones(1), top=top)
        assert found == one


@cases(full=300, sample=40)
@given(answers())
def test_the_classes_make_up_the_total(case: tuple[Array, Array]) -> None:
    scores = score(*case)
    total, rows = scores.summary(), scores.by_class()
    assert sum(row["images"] for row in rows) == total["images"] == len(case[1])
    for key in ("top1_error", "top5_error", "log_probability"):
        mean = sum(row["images"] * row[key] for row in rows) / total["images"]
        assert np.isclose(mean, total[key])


@cases(full=300, sample=40)
@given(answers())
def test_confusions_are_the_commonest_first(case: tuple[Array, Array]) -> None:
    scores = score(*case)
    everything = scores.confusions(1000)
    assert sum(row["images"] for row in everything) == (scores.likeliest != case[1]).sum()
    counts = [row["images"] for row in everything]
    assert counts == sorted(counts, reverse=True)
    assert all(row["label"] != row["taken_for"] for row in everything)
    assert scores.confusions(2) == everything[:2]
    for row in everything:
        chosen = (case[1] == row["label"]) & (scores.likeliest == row["taken_for"])
        assert chosen.sum() == row["images"]


def test_an_impossible_label_has_a_logarithm() -> None:
    scores = score(np.array([[1.0, 0.0]]), np.array([1], np.int32))
    assert scores.summary()["log_probability"] == np.log(LEAST)
