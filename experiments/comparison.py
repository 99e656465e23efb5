"""Networks that differ in one thing, each built, and trained from the same seeds.

A trial is one network with one seed. What it takes is done as `codegen.build` and `runtime.train`
do it, by their command lines, which a dry run prints. A trial that has its result is not run again
and one that was stopped goes on, so the same command finishes what was cut.

    OUT/experiment.json                 what was asked for
    OUT/VARIANT/network.ir, plan.json   and plan/
    OUT/VARIANT/seed-0/                 what training leaves, and result.json
"""

import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from codegen import build
from codegen.devices import binding
from experiments.options import read
from ir.command import Error
from ir.graph import Graph
from ir.printer import print_graph
from passes.context import to_stderr
from runtime.files import write_json, write_text
from runtime.job import Job
from runtime.log import Record
from runtime.log import read as read_log
from runtime.numerics import NumericsError
from runtime.options import parse
from runtime.train import train

Row = dict[str, Any]
"""Numbers by name; None for what a run did not reach, nothing but `diverged` if it broke off."""
Results = dict[str, list[Row]]
"""By variant: a row for each seed."""


@dataclass(frozen=True)
class Variant:
    """A network, on how many devices it is placed, and what its training alone is told."""

    name: str
    network: Graph
    devices: int
    training: tuple[str, ...] = ()

    def __str__(self) -> str:
        parameters = sum(prod(leaf.type.shape) for leaf in self.network.leaves("param"))
        return f"{self.network.name}, {parameters:,} parameters"


@dataclass(frozen=True)
class Trial:
    """A variant with one seed; `binding` are the devices of its plan."""

    variant: Variant
    seed: int
    options: Namespace
    binding: tuple[str, ...]

    @property
    def plan(self) -> Path:
        """Where its plan lies, beside its network."""
        path: Path = self.options.out / self.variant.name / "plan.json"
        return path

    @property
    def network(self) -> Path:
        """The text of its network."""
        return self.plan.with_name("network.ir")

    @property
    def out(self) -> Path:
        """The folder of its run."""
        return self.plan.with_name(f"seed-{self.seed}")

    @property
    def result(self) -> Path:
        """What is written last, and says that it is done."""
        return self.out / "result.json"

    @property
    def build_line(self) -> list[str]:
        """What `codegen.build` is told."""
        return [str(self.network), "-o", str(self.plan), "--devices", ",".join(self.binding)]

    @property
    def train_line(self) -> list[str]:
        """What `runtime.train` is told. Of two that say the same the last one counts."""
        asked = self.options
        given = {"--data": asked.data, "--epochs": asked.epochs, "--steps": asked.steps}
        given |= {"--seed": self.seed, "--out": self.out}
        words = [w for key, value in given.items() if value is not None for w in (key, str(value))]
        return [str(self.plan), *asked.training, *self.variant.training, *words, "--resume"]

    def log(self) -> list[Record]:
        """The log of its run. Raises DataError."""
        return read_log(self.out / "log.jsonl")


Measure = Callable[[Trial], Row]


def trials(variants: Sequence[Variant], options: Namespace) -> list[Trial]:
    """All variants with the first seed, then with the next. Raises Error for too few devices."""
    devices = binding(options.devices, to_stderr)
    for variant in variants:
        if variant.devices > len(devices):
            asked = ",".join(devices)
            raise Error(f"--devices {asked}: {variant.name} is placed on {variant.devices}")
    found = [
        Trial(variant, seed, options, devices[: variant.devices])
        for seed in range(options.seeds)
        for variant in variants
    ]
    parse(None, found[0].train_line)  # refuses what is wrong before the work begins
    return found


def describe(trials: Sequence[Trial]) -> Iterator[str]:
    """Lines for a dry run: what is there already, and the commands that do the rest."""
    for trial in trials:
        done = "; done already" if trial.result.is_file() else ""
        yield f"# {trial.variant.name}, seed {trial.seed}{done}"
        if not trial.seed:
            yield f"# {trial.network}: {trial.variant}, on {', '.join(trial.binding)}"
            yield shlex.join(["python", "-m", "codegen.build", *trial.build_line])
        yield shlex.join(["python", "-m", "runtime.train", *trial.train_line])


def run(trials: Sequence[Trial], measure: Measure) -> Results:
    """Run what has not run yet, and measure it. Raises Error; exits with 75 when stopped."""
    results: Results = {trial.variant.name: [] for trial in trials}
    for number, trial in enumerate(trials, 1):
        if not trial.result.is_file():
            name = f"{trial.variant.name}, seed {trial.seed}"
            print(f"== {number}/{len(trials)}: {name}", file=sys.stderr)
            _build(trial)
            write_json(trial.result, _trained(trial, measure))
        results[trial.variant.name].append(read(trial.result))
    return results


def _build(trial: Trial) -> None:
    if not trial.plan.is_file():
        write_text(trial.network, print_graph(trial.variant.network))
        build.build(build.parse(None, trial.build_line))


def _trained(trial: Trial, measure: Measure) -> Row:
    """Train and measure. A rate that is too high is a result, too."""
    try:
        with redirect_stdout(sys.stderr):
            status = train(Job(parse(None, trial.train_line)))
    except NumericsError as error:
        return {"diverged": str(error)}
    if status:
        sys.exit(status)
    return measure(trial)
