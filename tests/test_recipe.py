"""Recipes and schedules: what belongs to a step depends on its number and on past errors alone."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir.command import Error
from runtime import recipes
from runtime.data.digits import RECIPE as DIGITS
from runtime.data.photos import RECIPE as PHOTOS
from runtime.options import parse
from runtime.rates import Exponential, Milestones, Plateau, Rates
from runtime.recipe import Augment, Recipe, Rule
from runtime.schedule import Schedule
from tests.counts import cases

SCHEDULES = st.builds(
    Schedule, st.just(Recipe(rate=1.0, epochs=3)), st.integers(1, 40), st.integers(1, 9)
)
COUNTS = st.integers(1, 200)
AMOUNTS = st.floats(0, 1e6)
FACTORS = st.floats(1, 1e6)
RATES: st.SearchStrategy[Rates] = st.one_of(
    st.builds(Plateau, factor=FACTORS, drops=COUNTS, patience=COUNTS),
    st.builds(
        Milestones,
        epochs=st.lists(COUNTS, unique=True).map(lambda epochs: tuple(sorted(epochs))),
        factor=FACTORS,
    ),
    st.builds(Exponential, factor=FACTORS, steps=st.integers(2, 9)),
)
MAYBE = st.none() | COUNTS
RULES = st.builds(
    Rule, names=st.text(max_size=9), after=COUNTS, rate=AMOUNTS, schedule=st.none() | RATES
)
RECIPES = st.builds(
    Recipe,
    rate=AMOUNTS,
    epochs=COUNTS,
    schedule=RATES,
    momentum=st.floats(0, 1),
    decay=AMOUNTS,
    parameters=st.lists(RULES, max_size=3).map(tuple),
    augment=st.builds(
        Augment,
        crop=st.booleans(),
        positions=MAYBE,
        shared=COUNTS,
        colour=AMOUNTS,
        scale=st.sampled_from(["deviation", "eigenvalue"]),
        until=MAYBE,
    ),
    batch=MAYBE,
    reshuffle=st.booleans(),
)
ERRORS = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), max_size=40).map(tuple)

# -------------------------------------------------------------------------------- steps


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


# ---------------------------------------------------------------------------- schedules


def test_the_rate_is_divided_by_ten_after_each_milestone() -> None:
    recipe = Recipe(rate=0.01, epochs=4, schedule=Milestones(epochs=(1, 3)))
    schedule = Schedule(recipe, batches_per_epoch=2)
    rates = [schedule.rate(step) for step in range(8)]
    assert rates == pytest.approx([0.01] * 2 + [0.001] * 4 + [0.0001] * 2)


def test_a_rate_divided_by_more_than_a_number_can_be_is_zero() -> None:
    schedule = Milestones(epochs=tuple(range(1, 41)), factor=1e9)
    recipe = Recipe(rate=0.01, epochs=50, schedule=schedule)
    assert Schedule(recipe, batches_per_epoch=1).rate(45) == 0


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_exponential_schedule_switches_after_equal_parts_of_all_batches(accumulate: int) -> None:
    recipe = Recipe(rate=0.01, epochs=6, schedule=Exponential(factor=250, steps=4))
    schedule = Schedule(recipe, batches_per_epoch=5, accumulate=accumulate)
    for step in range(schedule.steps(6)):
        part = 4 * step * accumulate // 30
        assert schedule.rate(step) == pytest.approx(0.01 * 250 ** (-part / 3))
    assert schedule.rate(schedule.steps(9)) == pytest.approx(0.01 / 250)


@pytest.mark.parametrize(
    ("errors", "drops"),
    [
        ((), 0),
        ((0.5, 0.4, 0.3), 0),
        ((0.5, 0.5), 0),
        ((0.5, 0.5, 0.6), 1),
        ((0.5, 0.6, 0.4, 0.4), 0),
        ((0.5, 0.6, 0.6, 0.55, 0.55), 2),
        ((0.5, 0.6, 0.6, 0.4, 0.5, 0.3, 0.3, 0.3), 2),
    ],
)
def test_a_plateau_is_some_epochs_without_a_lesser_error(
    errors: tuple[float, ...], drops: int
) -> None:
    plateau = Plateau(patience=2)
    assert plateau.divisor(Fraction(0), 1, errors) == 10**drops


@cases(full=1000, sample=100)
@given(errors=ERRORS, drops=st.integers(1, 3), patience=st.integers(1, 5))
def test_a_plateau_drops_so_often_and_then_ends(
    errors: tuple[float, ...], drops: int, patience: int
) -> None:
    plateau = Plateau(drops=drops, patience=patience)
    history = [errors[:n] for n in range(len(errors) + 1)]
    divisors = [plateau.divisor(Fraction(0), 1, past) for past in history]
    assert divisors == sorted(divisors)
    assert divisors[-1] <= 10**drops
    ended = [plateau.ended(past) for past in history]
    assert ended == sorted(ended)
    # It ends at the earliest after so many waits, and at the latest if no error ever falls.
    assert not any(ended[: (drops + 1) * patience])
    flat = (0.5,) * (1 + (drops + 1) * patience)
    assert plateau.ended(flat)
    assert not plateau.ended(flat[:-1])


@cases(full=300, sample=50)
@given(recipe=RECIPES, time=st.fractions(0, 99), errors=ERRORS)
def test_factors_of_all_rules_in_force_count_and_the_last_schedule(
    recipe: Recipe, time: Fraction, errors: tuple[float, ...]
) -> None:
    rules = (Rule("*.bias", 3, 0.5), Rule("a.*", 0, 3.0, Milestones(epochs=(5,))))
    special = Recipe(rate=recipe.rate, epochs=9, schedule=recipe.schedule, parameters=rules)
    main, own = special.rate_at(time, errors), special.rate / (10 if time >= 5 else 1)
    assert special.rate_of("b.weight", time, errors) == main
    assert special.rate_of("b.bias", time, errors) == main * (0.5 if time >= 3 else 1)
    assert special.rate_of("a.weight", time, errors) == own * 3
    assert special.rate_of("a.bias", time, errors) == own * (1.5 if time >= 3 else 3)


# -------------------------------------------------------------------------------- shipped

NAMES = ("conv1.weight", "conv1.bias", "fc8.weight", "fc8.bias")


def rates_of(recipe: Recipe, epoch: float, plan: float = 2.0) -> tuple[float, ...]:
    """The rates of NAMES in an epoch, with what plans multiply those of biases by."""
    time = Fraction(epoch)
    return tuple(
        recipe.rate_of(name, time) * (plan if name.endswith("bias") else 1) for name in NAMES
    )


@pytest.mark.parametrize(
    ("epoch", "rates"),
    [
        (0, (1e-2, 2e-2, 1e-2, 2e-2)),
        (22.9, (1e-2, 2e-2, 1e-2, 2e-2)),
        (23, (1e-3, 2e-3, 1e-3, 2e-3)),
        (51, (1e-4, 2e-3, 1e-4, 2e-3)),
        (68, (1e-5, 2e-3, 1e-4, 2e-3)),
        (72, (0, 0, 1e-4, 2e-3)),
        (78, (0, 0, 1e-5, 2e-3)),
    ],
)
def test_code145_runs_as_its_log_says(epoch: float, rates: tuple[float, ...]) -> None:
    recipe = recipes.read("code145")
    assert rates_of(recipe, epoch) == pytest.approx(rates)
    assert recipe.augment.shifts(int(epoch)) is (epoch < 68)


@pytest.mark.parametrize(
    ("epoch", "rates"),
    [
        (24.9, (1e-2, 2e-2, 1e-2, 2e-2)),
        (25, (1e-3, 2e-2, 1e-3, 2e-2)),
        (51, (1e-4, 2e-2, 1e-4, 2e-2)),
        (67, (1e-5, 2e-2, 1e-4, 2e-2)),
        (72, (0, 0, 1e-4, 2e-2)),
        (79, (0, 0, 1e-5, 2e-2)),
    ],
)
def test_code145_on_the_later_set_ran_so(epoch: float, rates: tuple[float, ...]) -> None:
    recipe = recipes.read("code145-2012")
    assert rates_of(recipe, epoch) == pytest.approx(rates)
    assert recipe.augment.shifts(int(epoch)) is (epoch < 67)
    assert recipe.epochs == 91


@pytest.mark.parametrize("name", recipes.shipped())
def test_the_2012_program_took_the_images_in_one_order(name: str) -> None:
    assert recipes.read(name).reshuffle is (name == "paper")


def test_the_exponential_recipe_is_that_of_the_later_runs() -> None:
    recipe = recipes.read("exponential")
    found = [rates_of(recipe, epoch)[2:] for epoch in (0, 22.5, 45, 67.5, 89)]
    weights = [0.01 * 250 ** (-i / 3) for i in (0, 1, 2, 3, 3)]
    biases = [0.02, 0.02, 0.002, 0.002, 0.002]
    assert found == [pytest.approx(pair) for pair in zip(weights, biases, strict=True)]
    assert weights[-1] == pytest.approx(4e-5)


def test_the_paper_s_recipe_divides_three_times_and_then_stops() -> None:
    recipe = recipes.read("paper")
    flat = (0.9,) * 30
    found = [recipe.rate_at(Fraction(n), flat[:n]) for n in (5, 6, 11, 16, 21)]
    assert found == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5, 1e-5])
    assert [recipe.schedule.ended(flat[:n]) for n in (20, 21)] == [False, True]
    assert rates_of(recipe, 3) == pytest.approx((1e-2, 2e-2, 1e-2, 2e-2))


@pytest.mark.parametrize("recipe", [DIGITS, PHOTOS])
def test_default_recipes_drop_within_their_length(recipe: Recipe) -> None:
    assert isinstance(recipe.schedule, Milestones)
    assert recipe.schedule.epochs
    assert all(0 < epoch < recipe.epochs for epoch in recipe.schedule.epochs)
    assert f"rate {recipe.rate:g}" in str(recipe)


# ---------------------------------------------------------------------------------- files


@cases(full=500, sample=50)
@given(recipe=RECIPES)
def test_a_recipe_s_text_gives_it_back(
    recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "r.toml"
    path.write_text(recipes.text(recipe), "utf-8")
    assert recipes.read(str(path)) == recipe


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rate = ", "not TOML"),
        ("rate = 1", "missing key epochs"),
        ("rate = -1\nepochs = 3", r"rate: expected float >= 0.0"),
        ("rate = nan\nepochs = 3", r"rate: expected float >= 0.0"),
        ("rate = 1\nepochs = '3'", "epochs: expected int, got str"),
        ("rate = 1\nepochs = 3\nspeed = 4", "unknown key speed; expected one of augment, batch"),
        ("rate = 1\nepochs = 3\naugment.hue = 1", "augment: unknown key hue; .* positions, scale"),
        ("rate = 1\nepochs = 3\nschedule.kind = 'x'", "schedule.kind: .*'x'; .* of plateau"),
        ("rate = 1\nepochs = 3\nschedule = { kind = 'plateau', epochs = 3 }", "unknown key epochs"),
        (
            "rate = 1\nepochs = 3\nschedule = { kind = 'milestones', epochs = [2, 1] }",
            r"schedule: got epochs \[2, 1\], expected ascending",
        ),
        ("rate = 1\nepochs = 3\n[[parameters]]\nafter = 1", r"parameters\[0\]: missing key names"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_key(
    text: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(Error, match=f"wrong.toml: .*{complaint}|wrong.toml: {complaint}"):
        recipes.read(str(path))


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(Error, match=r"expected one of code145-2012, code145, .*, or a TOML file"):
        recipes.read("best")


# -------------------------------------------------------------------------------- options


def asked(*arguments: str, of: str = "code145") -> Recipe:
    return parse(None, ["plan.json", *arguments]).changed(recipes.read(of))


def test_options_change_a_recipe_and_nothing_else() -> None:
    recipe = recipes.read("code145")
    assert asked() == recipe
    assert asked("--lr", "0.5").rate == 0.5
    assert asked("--epochs", "7").epochs == 7
    assert asked("--weight-decay", "0", "--momentum", "0.5").momentum == 0.5
    assert asked("--set", "augment.shared=1").augment.positions == 33
    assert asked("--set", "augment.shared=1", "--set", "rate=2").augment.shared == 1
    assert asked("--schedule", "plateau").schedule == Plateau()
    table = "{ kind = 'milestones', epochs = [3] }"
    assert asked("--schedule", table).schedule == Milestones(epochs=(3,))
    still = asked("--no-augment").augment
    assert (still.crop, still.flip, still.colour) == (False, False, 0)


def test_a_bias_rate_comes_on_top_and_once_however_often_it_is_asked_for() -> None:
    options = parse(None, ["plan.json", "--bias-rate", "0.5"])
    once = options.changed(recipes.read("code145"))
    assert options.changed(once) == once
    assert rates_of(once, 30) == pytest.approx((1e-3, 1e-3, 1e-3, 1e-3))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "rate"], "--set rate: not TOML"),
        (["--set", "augment.hue=1"], "--set augment.hue=1: augment: unknown key hue"),
        (["--schedule", "steady"], "--schedule: schedule.kind: .*'steady'; expected one of"),
        (["--schedule", "exponential"], "--schedule: schedule: missing key factor"),
    ],
)
def test_options_that_say_nothing_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(Error, match=words):
        asked(*arguments)
