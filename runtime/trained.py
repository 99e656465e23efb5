"""What the commands that use a trained network have in common: options, and how it is opened."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ir import plan as plans
from runtime import checkpoint, data
from runtime.classifier import Classifier, evaluation_feeds
from runtime.data.batches import image_size
from runtime.data.dataset import Dataset
from runtime.devices import open_executor
from runtime.executor import Executor
from runtime.views import COUNTS


@dataclass(frozen=True)
class Trained:
    """A plan on its devices, the data set that it learned from, and its eyes."""

    executor: Executor
    dataset: Dataset
    size: int
    classifier: Classifier

    def load(self, path: Path) -> None:
        """Take the parameters of a checkpoint. Raises Error."""
        checkpoint.load(path, self.executor.states, parameters_only=True)

    def names(self) -> list[str]:
        """What each class of the plan is called: its number where the data set has no name."""
        named = self.dataset.names
        return [*named, *map(str, range(len(named), self.classifier.classes))]


@contextmanager
def opened(options: Namespace) -> Generator[Trained]:
    """Open the plan that the options below name. Raises Error."""
    plan = plans.read(options.plan)
    size = image_size(evaluation_feeds(plan))
    dataset = data.load(options.data, size)
    directory, binding = plans.folder(options.plan), options.devices
    with open_executor(plan, directory, binding=binding, threads=options.threads) as executor:
        yield Trained(executor, dataset, size, Classifier(executor, dataset, options.views))


def add_options(parser: ArgumentParser, *, several: bool = False) -> None:
    """Add the plan, its `checkpoint` or several `checkpoints`, the data, views and devices."""
    add = parser.add_argument
    add("plan", type=Path, help="plan.json, as codegen.build writes it")
    if several:
        add("checkpoints", type=Path, nargs="+", metavar="CKPT", help="several are averaged")
    else:
        add("checkpoint", type=Path, metavar="CKPT", help="with its parameters")
    add_data(parser)
    add("--views", type=int, choices=COUNTS, default=1, help="the middle crop (default), or ten")
    add("--devices", metavar="BINDING", help="such as cuda:0,cuda:0 (default: the plan's)")
    add("--threads", type=count, metavar="N", help="on CPUs, in all (default: one for each core)")


def add_data(parser: ArgumentParser) -> None:
    """Add `--data`."""
    names = ", ".join(data.DATASETS)
    parser.add_argument(
        "--data", default="digits", help=f"{names} or a store's folder (default digits)"
    )


def count(text: str) -> int:
    """A number from 1 on. Raises ArgumentTypeError for anything else."""
    if not (text.isdecimal() and int(text) >= 1):
        raise ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)
