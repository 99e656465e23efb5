"""Looking at images: views, and outputs averaged over them, on the oracle in place of kernels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ir.command import Error
from ir.op import Array
from ir.plan import Plan
from runtime.classifier import FEATURES, PROBABILITIES, Classifier
from runtime.data.dataset import Dataset, Part, Suits
from runtime.data.statistics import mean_image
from runtime.numerics import NumericsError
from runtime.recipe import Recipe
from runtime.views import View, views
from tests.closeness import assert_close
from tests.counts import cases
from tests.oracle_train import OracleExecutor, plan_of, programs

SIZE, CROP, BATCH = 9, 8, 4
NAMES = (PROBABILITIES, FEATURES)


# ------------------------------------------------------------------------------- views


def test_ten_views_are_those_of_the_2012_program() -> None:
    corners = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
    found = views(10, places=33)
    assert [(v.row, v.column, v.mirrored) for v in found] == [
        (row, column, mirrored) for mirrored in (False, True) for row, column in corners
    ]


@cases(full=100, sample=20)
@given(st.integers(1, 500))
def test_one_view_is_among_ten_and_all_lie_inside(places: int) -> None:
    (middle,) = views(1, places)
    assert middle in views(10, places)
    assert middle.row == middle.column == (places - 1) // 2
    for view in views(10, places):
        assert 0 <= view.row < places
        assert 0 <= view.column < places


def test_other_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="5 views, expected 1 or 10"):
        views(5, 33)


# ------------------------------------------------------------------------------ looking


def oracle(plan: Plan | None = None) -> OracleExecutor:
    """An executor of the tiny network, its parameters drawn."""
    plan = plan or plan_of(programs(1, BATCH), 1, BATCH)
    executor = OracleExecutor(plan, Path(), binding=None, threads=None)
    executor.states.initialise(0)
    return executor


def dataset(count: int) -> Dataset:
    pixels = np.random.default_rng(count).integers(0, 256, (count, 3, SIZE, SIZE)).astype(np.uint8)
    part = Part((np.arange(count) % 10).astype(np.int32), lambda indices: pixels[indices])
    return Dataset("noise", "noise", 10, part, part, Suits(), Recipe(rate=0.1, epochs=1))


def classifier(executor: OracleExecutor, data: Dataset, count: int) -> Classifier:
    return Classifier(executor, data, count)  # type: ignore[arg-type]


def by_hand(executor: OracleExecutor, data: Dataset, view: View) -> dict[str, Array]:
    """What the tiny network says of a view of all images."""
    values = executor.states.values
    pixels = data.train.read(np.arange(len(data.train))).astype(np.float64)
    x = pixels - mean_image(data.train)
    x = x[:, :, view.row : view.row + CROP, view.column : view.column + CROP]
    x = x[:, :, :, ::-1] if view.mirrored else x
    x = x.reshape(len(x), -1) @ values["hidden.weight"].T + values["hidden.bias"]
    x = np.maximum(x, 0) * 0.8
    e = np.exp(x @ values["told.weight"].T + values["told.bias"])
    return {PROBABILITIES: e / e.sum(axis=1, keepdims=True), FEATURES: x}


@cases(full=40, sample=8)
@given(count=st.integers(1, 11), seen=st.sampled_from((1, 10)))
def test_outputs_are_means_over_the_views(count: int, seen: int) -> None:
    executor, data = oracle(), dataset(count)
    chosen = views(seen, SIZE - CROP + 1)
    found = classifier(executor, data, seen).see(data.validation, NAMES)
    for name in NAMES:
        expected = np.mean([by_hand(executor, data, v)[name] for v in chosen], axis=0)
        assert found[name].shape == expected.shape
        assert_close(found[name], expected, 1e-5, name)


def test_an_unknown_output_is_refused() -> None:
    data = dataset(3)
    with pytest.raises(Error, match=r"does not put out 'other'.*--keep other"):
        classifier(oracle(), data, 1).see(data.validation, ["other"])


def test_what_is_no_number_is_refused() -> None:
    executor, data = oracle(), dataset(3)
    executor.states.write("told.bias", np.full(10, np.nan))
    with pytest.raises(NumericsError, match="'probabilities' has NaN"):
        classifier(executor, data, 1).see(data.validation, NAMES)


def test_a_plan_without_evaluation_cannot_classify() -> None:
    plan = plan_of(programs(1, BATCH), 1, BATCH)
    training = replace(plan, programs={"train": plan.programs["train"]})
    with pytest.raises(Error, match="cannot classify: its programs are train"):
        classifier(oracle(training), dataset(3), 1)


@pytest.mark.parametrize("missing", ["offset", "flip"])
def test_ten_views_need_a_plan_that_takes_them(missing: str) -> None:
    plan = plan_of(programs(1, BATCH), 1, BATCH)
    evaluation = plan.programs["evaluate"]
    feeds = tuple(feed for feed in evaluation.feeds if feed.logical != missing)
    fixed = replace(plan, programs={"evaluate": replace(evaluation, feeds=feeds)})
    with pytest.raises(Error, match=f"no feed '{missing}'; expected --views 1"):
        classifier(oracle(fixed), dataset(3), 10)
