"""The options of `python -m runtime.train`, as a record."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from runtime import recipes
from runtime.data import DATASETS
from runtime.recipe import LARGEST, Recipe, Rule
from runtime.state import SEEDS


@dataclass(frozen=True)
class Options:
    """None stands for the data set's recipe, or for the plan's own choice."""

    plan: Path
    data: str
    steps: int | None
    epochs: int | None
    minutes: float | None
    seed: int | None
    recipe: str | None
    lr: float | None
    momentum: float | None
    weight_decay: float | None
    bias_rate: float | None
    schedule: str | None
    augment: bool
    set: tuple[str, ...]
    out: Path
    init: Path | None
    fresh: tuple[str, ...]
    resume: bool
    checkpoint_every: int | None
    validate_every: int | None
    keep: int
    log: Path | None
    threads: int | None
    devices: str | None
    dry_run: bool
    profile: Path | None
    check_numerics: bool

    def changed(self, recipe: Recipe) -> Recipe:
        """The recipe with what these options say otherwise. Raises Error."""
        schedule = self.schedule
        if schedule is not None and not schedule.startswith("{"):
            schedule = f'{{ kind = "{schedule}" }}'
        given = {
            "--lr": ("rate", self.lr),
            "--momentum": ("momentum", self.momentum),
            "--weight-decay": ("decay", self.weight_decay),
            "--epochs": ("epochs", self.epochs),
            "--schedule": ("schedule", schedule),
        }
        asked = {option: f"{key} = {v}" for option, (key, v) in given.items() if v is not None}
        if not self.augment:
            asked["--no-augment"] = "augment = { crop = false, flip = false, colour = 0 }"
        for text in self.set:
            asked[f"--set {text}"] = text
        recipe = recipes.changed(recipe, asked)
        return recipe if self.bias_rate is None else _with_biases(recipe, self.bias_rate)

    @property
    def resumes(self) -> bool:
        """Whether there is a checkpoint to go on with, as was asked for."""
        return self.resume and self.last.is_file()

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.out / "last.safetensors"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation accuracy."""
        return self.out / "best.safetensors"

    @property
    def recipe_file(self) -> Path:
        """The whole recipe, as it is followed."""
        return self.out / "recipe.toml"

    @property
    def curve(self) -> Path:
        """The picture of the log."""
        return self.out / "curve.svg"

    @property
    def log_file(self) -> Path:
        """Where the log goes."""
        return self.log or self.out / "log.jsonl"


def parse(description: str | None, arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m runtime.train", description=description)
    add = parser.add_argument
    add("plan", type=Path, help="plan.json, as codegen.build writes it")
    add("--data", default="digits", help=f"{', '.join(DATASETS)}, or a store (default digits)")
    for group in (_length, _learning, _files, _machine):
        group(add)
    return Options(**vars(parser.parse_args(arguments)))


def _with_biases(recipe: Recipe, rate: float) -> Recipe:
    """The recipe with a rule for biases, in the place of one that this made before."""
    rule = Rule(names="*.bias", rate=rate)
    others = (other for other in recipe.parameters if replace(other, rate=rate) != rule)
    return replace(recipe, parameters=(*others, rule))


_Add = Callable[..., object]


def _length(add: _Add) -> None:
    add("--steps", type=_count, metavar="N", help="stop after step N")
    add("--epochs", type=_count, metavar="N", help="passes through the data (default: the recipe)")
    add("--minutes", type=_amount, metavar="M", help="stop after about M minutes")


def _learning(add: _Add) -> None:
    named = ", ".join(recipes.shipped())
    add("--recipe", help=f"{named} or a TOML file (default: the data set's, or the resumed run's)")
    add("--seed", type=_seed, metavar="N", help="of all that is random (default 0)")
    add("--lr", type=_amount, metavar="RATE", help="learning rate (default: the recipe)")
    add("--momentum", type=_amount, metavar="M", help="(default: the recipe)")
    add("--weight-decay", type=_amount, metavar="D", help="(default: the recipe)")
    add("--bias-rate", type=_amount, metavar="F", help="times the rate that the plan gives biases")
    add("--schedule", metavar="TABLE", help="plateau, or '{ kind = \"milestones\", epochs = [9] }'")
    add("--no-augment", dest="augment", action="store_false", help="middle crops, nothing else")
    change = {"action": "append", "default": [], "metavar": "KEY=VALUE"}
    add("--set", **change, help="any key of a recipe, as in augment.shared=32; again for another")


def _files(add: _Add) -> None:
    add("--out", type=Path, default=Path("run"), metavar="DIR", help="of the run (default ./run)")
    add("--init", type=Path, metavar="CKPT", help="begin with the parameters of a checkpoint")
    fresh = "but draw these anew, as in 'head.*'; again for others"
    add("--fresh", action="append", default=[], metavar="NAMES", help=fresh)
    add("--resume", action="store_true", help="go on with the checkpoint in DIR, if there is one")
    add("--checkpoint-every", type=_count, metavar="N", help="steps (default: each epoch)")
    add("--validate-every", type=_count, metavar="N", help="and save after N steps, too")
    add("--keep", type=_count, default=2, metavar="N", help="newest checkpoints (default 2)")
    add("--log", type=Path, metavar="FILE", help="one JSON object a step (default DIR/log.jsonl)")


def _machine(add: _Add) -> None:
    add("--threads", type=_count, metavar="N", help="on CPUs, in all (default: one for each core)")
    add("--devices", metavar="BINDING", help="such as cuda:0,cuda:0 (default: the plan's)")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add("--profile", type=Path, metavar="FILE", help="write a Chrome trace of the first steps")
    checks = "look for NaN and infinity in all that every kernel writes, which is slow"
    add("--check-numerics", action="store_true", help=checks)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < SEEDS:
        raise argparse.ArgumentTypeError(f"{text} is not in 0 ... {SEEDS - 1}")
    return value


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text} is not a number in 0 ... {LARGEST:g}")
    return value
