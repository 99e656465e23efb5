"""What a command line asks for, read and checked, and described; nothing is written here."""

from collections.abc import Iterator
from functools import cached_property

from ir import plan as plans
from ir.command import Error
from ir.plan import Feed, Plan, Program
from runtime import data, recipes
from runtime.binding import kind
from runtime.data.batches import Batches, image_size
from runtime.fit import scratch
from runtime.options import Options
from runtime.rates import Plateau
from runtime.recipe import Recipe
from runtime.schedule import Schedule
from runtime.trainer import EVALUATE, check, data_program, rates


class Job:
    """A plan, a data set that fits it, and how long and how fast to learn."""

    def __init__(self, options: Options) -> None:
        """Raises Error."""
        self.options = options
        self.plan = plans.read(options.plan)
        check(self.plan)
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
        part, augment = self.dataset.train, self.recipe.augment
        return Batches(self.dataset, part, self._program.feeds, seed=seed, augment=augment)

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
        each = "device" if kind(self.plan) == "cuda" else "thread"
        yield f"scratch {scratch(self.plan) / 1e6:.1f} MB for each {each}"
        for name, program in self.plan.programs.items():
            yield f"program {name}: {len(program.steps)} steps; feeds {_listed(program.feeds)}"
        resuming = self.options.resumes
        yield f"would resume {self.options.last}" if resuming else "would start afresh"
        yield f"would write {self.options.out} and {self.options.log_file}"


def _suits(recipe: Recipe, plan: Plan) -> None:
    """Raises Error for a recipe that the plan cannot follow."""
    names = sorted(rates(plan))
    for rule in recipe.parameters:
        if not any(map(rule.concerns, names)):
            raise Error(
                f"recipe: parameters: names '{rule.names}' are none of the plan's; "
                f"expected some like {names[0] if names else 'none'}"
            )
    schedules = (recipe.schedule, *(rule.schedule for rule in recipe.parameters))
    if EVALUATE not in plan.programs and any(isinstance(s, Plateau) for s in schedules):
        raise Error(
            "recipe: schedule: a plateau is seen in validations, and the plan has no program "
            f"{EVALUATE}; expected milestones or exponential"
        )


def _listed(feeds: tuple[Feed, ...]) -> str:
    types = {f.logical: f"{f.tensor.dtype}{list(f.tensor.layout.shape)}" for f in feeds}
    rates = [name for name in types if name.endswith(".rate")]
    shown = [f"{name} {type}" for name, type in types.items() if name not in rates]
    return ", ".join(shown + [f"{len(rates)} rates"] * bool(rates))
