"""Numbers of a trial that is done: how well it classifies, how fast it learned."""

from argparse import ArgumentParser
from collections.abc import Sequence
from statistics import median

import numpy as np
import numpy.typing as npt

from experiments.comparison import Row, Trial
from runtime.evaluate import averaged
from runtime.job import Job
from runtime.log import Record
from runtime.options import parse
from runtime.progress import Bar
from runtime.scores import score
from runtime.trained import add_options, opened

Floats = npt.NDArray[np.float64]


def evaluated(trial: Trial) -> Row:
    """As `runtime.evaluate` scores the last checkpoint on the validation images; images/s."""
    checkpoint = trial.out / "last.safetensors"
    parser = ArgumentParser()
    add_options(parser, several=True)
    words = [str(trial.plan), str(checkpoint), "--data", trial.options.data]
    with opened(parser.parse_args([*words, "--views", str(trial.options.views)])) as network:
        part = network.dataset.validation
        with Bar("evaluated", len(part)) as bar:
            found = score(averaged(network, [checkpoint], part, bar), part.labels)
    speeds = [r["images_per_second"] for r in trial.log() if "images_per_second" in r]
    return {**found.summary(), "images_per_second": median(speeds)}


def learned(trial: Trial) -> Row:
    """The training error over the last epoch, and epochs until it was first as asked for."""
    errors, per_epoch = training_errors(trial.log()), epoch(trial)
    return {
        "epochs": epochs_to(trial.options.target, errors, per_epoch),
        "training_error": float(errors[-per_epoch:].mean()),
        "validation_error": _validation_error(trial.log()),
    }


def epoch(trial: Trial) -> int:
    """How many steps an epoch takes."""
    return Job(parse(None, trial.train_line)).schedule.steps(1)


def training_errors(records: Sequence[Record]) -> Floats:
    """The share of images told wrong at each step [steps], as they were learned from."""
    # An accuracy is a mean of single precision, and may miss 1 by its rounding.
    return np.array([1 - round(record["top1"], 6) for record in records if "top1" in record])


def epochs_to(error: float, errors: Floats, per_epoch: int) -> float | None:
    """Epochs until the mean over as many steps as an epoch takes is at most `error`."""
    sums = np.concatenate([[0.0], errors.cumsum()])
    means = (sums[per_epoch:] - sums[:-per_epoch]) / per_epoch
    (found,) = np.nonzero(means <= error)
    return float(found[0] / per_epoch + 1) if len(found) else None


def _validation_error(records: Sequence[Record]) -> float:
    return next(1 - r["validation_top1"] for r in reversed(records) if "validation_top1" in r)
