"""The options of `python -m runtime.train`, as a record."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.data import DATASETS
from runtime.recipe import Recipe

SEEDS = 2**32


@dataclass(frozen=True)
class Options:
    """None stands for the data set's recipe, or for the plan's own choice."""

    plan: Path
    data: str
    steps: int | None
    epochs: int | None
    minutes: float | None
    seed: int | None
    lr: float | None
    momentum: float | None
    weight_decay: float | None
    augment: bool
    out: Path
    init: Path | None
    resume: bool
    checkpoint_every: int | None
    log: Path | None
    threads: int | None
    devices: str | None
    dry_run: bool
    profile: Path | None

    def changed(self, recipe: Recipe) -> Recipe:
        """The recipe with what these options say otherwise."""
        asked = {
            "rate": self.lr,
            "momentum": self.momentum,
            "decay": self.weight_decay,
            "epochs": self.epochs,
        }
        return replace(recipe, **{k: v for k, v in asked.items() if v is not None})  # type: ignore[arg-type]

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.out / "last.safetensors"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation accuracy."""
        return self.out / "best.safetensors"

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
    add("--data", choices=DATASETS, default="digits", help="what to learn (default digits)")
    for group in (_length, _learning, _files, _machine):
        group(add)
    return Options(**vars(parser.parse_args(arguments)))


_Add = Callable[..., object]


def _length(add: _Add) -> None:
    add("--steps", type=_count, metavar="N", help="stop after step N")
    add("--epochs", type=_count, metavar="N", help="passes through the data (default: the recipe)")
    add("--minutes", type=_amount, metavar="M", help="stop after about M minutes")


def _learning(add: _Add) -> None:
    add("--seed", type=_seed, metavar="N", help="of all that is random (default 0)")
    add("--lr", type=_amount, metavar="RATE", help="learning rate (default: the recipe)")
    add("--momentum", type=_amount, metavar="M", help="(default: the recipe)")
    add("--weight-decay", type=_amount, metavar="D", help="(default: the recipe)")
    add("--no-augment", dest="augment", action="store_false", help="middle crops, nothing else")


def _files(add: _Add) -> None:
    add("--out", type=Path, default=Path("run"), metavar="DIR", help="of the run (default ./run)")
    add("--init", type=Path, metavar="CKPT", help="begin with the parameters of a checkpoint")
    add("--resume", action="store_true", help="go on with the checkpoint in DIR, if there is one")
    add("--checkpoint-every", type=_count, metavar="N", help="steps (default: each epoch)")
    add("--log", type=Path, metavar="FILE", help="one JSON object a step (default DIR/log.jsonl)")


def _machine(add: _Add) -> None:
    add("--threads", type=_count, metavar="N", help="on CPUs, in all (default: one for each core)")
    add("--devices", metavar="BINDING", help="such as cuda:0,cuda:0 (default: the plan's)")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add("--profile", type=Path, metavar="FILE", help="write a Chrome trace of the first steps")


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
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return value
