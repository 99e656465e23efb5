"""What a command line asks for, read and checked, and described; nothing is written here."""

from collections.abc import Iterator
from functools import cached_property

from ir import plan as plans
from ir.plan import Feed, Program
from runtime import data
from runtime.binding import kind
from runtime.data.batches import Batches, image_size
from runtime.fit import scratch
from runtime.options import Options
from runtime.schedule import Schedule
from runtime.trainer import EVALUATE, check, data_program


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
        self.recipe = options.changed(self.dataset.recipe)
        self.schedule = Schedule(self.recipe, self.training(0).count, self.plan.accumulate)
        self.steps = options.steps or self.schedule.steps(self.recipe.epochs)

    def training(self, seed: int) -> Batches:
        """The batches to learn from."""
        part, augment = self.dataset.train, self.options.augment
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
        resuming = self.options.resume and self.options.last.is_file()
        yield f"would resume {self.options.last}" if resuming else "would start afresh"
        yield f"would write {self.options.out} and {self.options.log_file}"


def _listed(feeds: tuple[Feed, ...]) -> str:
    types = {f.logical: f"{f.tensor.dtype}{list(f.tensor.layout.shape)}" for f in feeds}
    rates = [name for name in types if name.endswith(".rate")]
    shown = [f"{name} {type}" for name, type in types.items() if name not in rates]
    return ", ".join(shown + [f"{len(rates)} rates"] * bool(rates))
