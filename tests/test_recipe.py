"""Recipes and schedules: what belongs to a step depends on its number alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.data.digits import RECIPE as DIGITS
from runtime.data.photos import RECIPE as PHOTOS
from runtime.recipe import Recipe
from runtime.schedule import Schedule
from tests.counts import cases

SCHEDULES = st.builds(
    Schedule, st.just(Recipe(rate=1.0, epochs=3)), st.integers(1, 40), st.integers(1, 9)
)


@cases(full=1000, sample=50)
@given(schedule=SCHEDULES, epochs=st.integers(1, 5))
def test_steps_cover_every_batch_once_and_each_epoch_ends_once(
    schedule: Schedule, epochs: int
) -> None:
    steps = range(schedule.steps(epochs))
    batches = [batch for step in steps for batch in schedule.batches(step)]
    assert batches == list(range(len(batches)))
    needed = epochs * schedule.batches_per_epoch
    assert needed <= len(batches) < needed + schedule.accumulate
    ended = {(step + 1) * schedule.accumulate // schedule.batches_per_epoch for step in steps}
    assert sum(map(schedule.ends_epoch, steps)) == len(ended - {0})
    assert schedule.ends_epoch(steps[-1])


@cases(full=300, sample=30)
@given(schedule=SCHEDULES, step=st.integers(0, 10**6))
def test_a_step_is_in_the_epoch_of_its_first_batch(schedule: Schedule, step: int) -> None:
    first = schedule.batches(step)[0]
    assert schedule.epoch(step) == first // schedule.batches_per_epoch


def test_the_rate_is_divided_by_ten_after_each_drop() -> None:
    schedule = Schedule(Recipe(rate=0.01, epochs=4, drops=(1, 3)), batches_per_epoch=2)
    rates = [schedule.rate(step) for step in range(8)]
    assert rates == pytest.approx([0.01] * 2 + [0.001] * 4 + [0.0001] * 2)


@pytest.mark.parametrize("recipe", [DIGITS, PHOTOS])
def test_default_recipes_drop_within_their_length(recipe: Recipe) -> None:
    assert list(recipe.drops) == sorted(set(recipe.drops))
    assert all(0 < drop < recipe.epochs for drop in recipe.drops)
    assert f"rate {recipe.rate:g}" in str(recipe)
