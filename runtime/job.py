"""What a command line asks for, read and checked, and described; nothing is written here."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property

from ir import plan as plans
from ir.command import Error
from ir.plan import Feed, Plan, Program
from runtime import data, recipes
from runtime.binding import kind
from runtime.data.batches import Batches, image_size
from runtime.options import Options
from runtime.programs import EVALUATE, check, data_program, rates
from runtime.rates import Plateau
from runtime.recipe import Recipe
from runtime.schedule import Schedule


class Job:
    """A plan, a data set that fits it, and how long and how fast to learn."""

    def __init__(self, options: Options) -> None:
        """Raises Error."""
        self.options = options
        self.plan = plans.read(options.plan)
        check(self.plan)
        _check_fresh(options, sorted(rates(self.plan)))
        self._program: Program = self.plan.programs[data_program(self.plan)]
        feeds = {feed.logical: feed for feed in self._program.feeds}
        self.dataset = data.load(options.data, image_size(feeds))
        self.recipe = self._recipe()
        self.schedule = Schedule(self.recipe, self.training(0).count, self.plan.accumulate)
        self.steps = options.steps or self.schedule.steps(self.recipe.epochs)

    def _recipe(self) -> Recipe:
        options = self.options
        recipe = self.dataset.recipe
        if options.recipe is not None:
            recipe = recipes.read(options.recipe)
        elif options.resumes and options.recipe_file.is_file():
            recipe = recipes.read(str(options.recipe_file))
        recipe = options.changed(recipe)
        _suits(recipe, self.plan)
        return recipe

    def training(self, seed: int) -> Batches:
        """The batches to learn from."""
        recipe = self.recipe
        return Batches(
            self.dataset,
            self.dataset.train,
            self._program.feeds,
            seed=seed,
            augment=recipe.augment,
            reshuffle=recipe.reshuffle,
        )

    @cached_property
    def validation(self) -> Batches | None:
        """The batches to validate with, for a plan that can."""
        program = self.plan.programs.get(EVALUATE)
        if program is None:
            return None
        return Batches(self.dataset, self.dataset.validation, program.feeds)

    def describe(self) -> Iterator[str]:
        """Lines that say what a run would do."""
        plan, data = self.plan, self.dataset
        yield f"plan {self.options.plan}: {plan.name}, batches of {self._program.batch}"
        yield (
            f"data {data.name}: {data.about}; "
            f"{len(data.train)} to learn from, {len(data.validation)} to validate with"
        )
        yield f"recipe: {self.recipe}"
        update = self._program.batch * self.plan.accumulate
        if self.recipe.batch not in (None, update):
            yield f"the recipe suits {self.recipe.batch} images an update; the plan takes {update}"
        per_epoch = self.schedule.steps(1)
        yield f"{self.steps} steps, {per_epoch} an epoch; seed {self.options.seed or 0}"

    def details(self) -> Iterator[str]:
        """More lines, for a dry run."""
        for index, device in enumerate(self.plan.devices):
            yield f"device {index}: arena {device.arena / 1e6:.1f} MB"
        scratch = f"scratch {self.plan.scratch() / 1e6:.1f} MB for each device"
        of_two = f", {self.plan.scratch(2) / 1e6:.1f} MB with two threads"
        yield scratch + (of_two if kind(self.plan) == "cpu" else "")
        for name, program in self.plan.programs.items():
            yield f"program {name}: {len(program.steps)} steps; feeds {_listed(program.feeds)}"
        resuming = self.options.resumes
        yield f"would resume {self.options.last}" if resuming else "would start afresh"
        yield f"would write {self.options.out} and {self.options.log_file}"


def _suits(recipe: Recipe, plan: Plan) -> None:
    """Raises Error for a recipe that the plan cannot follow."""
    names = sorted(rates(plan))
    for rule in recipe.parameters:
        _check_names(rule.names, names, "recipe: parameters: names")
    schedules = (recipe.schedule, *(rule.schedule for rule in recipe.parameters))
    if EVALUATE not in plan.programs and any(isinstance(s, Plateau) for s in schedules):
        raise Error(
            "recipe: schedule: a plateau is seen in validations, and the plan has no program "
            f"{EVALUATE}; expected milestones or exponential"
        )


def _check_fresh(options: Options, names: Sequence[str]) -> None:
    """Raises Error for parameters to draw anew that are not there, or would be anyway."""
    for pattern in options.fresh:
        if options.init is None:
            raise Error(f"--fresh {pattern}: without --init all are drawn; expected --init CKPT")
        _check_names(pattern, names, "--fresh:")


def _check_names(pattern: str, names: Sequence[str], where: str) -> None:
    """Raises Error unless some of the plan's parameters have such names."""
    if not any(fnmatchcase(name, pattern) for name in names):
        some = names[0] if names else "none"
        raise Error(f"{where} '{pattern}' are none of the plan's; expected some like {some}")


def _listed(feeds: tuple[Feed, ...]) -> str:
    types = {f.logical: f"{f.tensor.dtype}{list(f.tensor.layout.shape)}" for f in feeds}
    rates = [name for name in types if name.endswith(".rate")]
    shown = [f"{name} {type}" for name, type in types.items() if name not in rates]
    return ", ".join(shown + [f"{len(rates)} rates"] * bool(rates))
