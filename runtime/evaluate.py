"""Say how well a trained network classifies: `python -m runtime.evaluate plan.json CKPT`.

Probabilities are averaged over the views and over the checkpoints; errors and log-probability are
those of the averages.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ir.command import run
from runtime.classifier import PROBABILITIES
from runtime.data.dataset import Part
from runtime.files import write_json
from runtime.npy import write_npy
from runtime.progress import Bar
from runtime.scores import Row, Scores, score
from runtime.trained import Trained, add_options, count, opened

Probabilities = npt.NDArray[np.float32]


def averaged(network: Trained, checkpoints: Sequence[Path], part: Part, bar: Bar) -> Probabilities:
    """The probabilities [n,classes] of a part's images, averaged over checkpoints. Raises Error."""
    total = np.zeros((len(part), network.classifier.classes), np.float32)
    for path in checkpoints:
        network.load(path)
        first = 0
        for found in network.classifier.look(part, [PROBABILITIES]):
            rows = found[PROBABILITIES]
            total[first : first + len(rows)] += rows / len(checkpoints)
            first += len(rows)
            bar.add(len(rows))
    return total


# ------------------------------------------------------------------------------ report


def report(scores: Scores, names: Sequence[str], options: Namespace) -> Iterator[str]:
    """The results as lines to read."""
    total = scores.summary()
    yield f"top-1 error      {total['top1_error']:8.3%}"
    yield f"top-5 error      {total['top5_error']:8.3%}"
    yield f"log-probability  {total['log_probability']:8.4f}"
    if options.per_class:
        yield from ("", f"{'class':30} {'images':>7} {'top-1':>9} {'top-5':>9} {'log p':>9}")
        yield from (_class_line(row, names) for row in scores.by_class())
    confusions = scores.confusions(options.confusions)
    if confusions:
        yield from ("", f"{'images':>7}  taken for")
        yield from (_confusion_line(row, names) for row in confusions)


def _class_line(row: Row, names: Sequence[str]) -> str:
    return (
        f"{names[int(row['label'])]:30.30} {row['images']:7} {row['top1_error']:9.3%} "
        f"{row['top5_error']:9.3%} {row['log_probability']:9.4f}"
    )


def _confusion_line(row: Row, names: Sequence[str]) -> str:
    return f"{row['images']:7}  {names[int(row['label'])]} -> {names[int(row['taken_for'])]}"


def facts(scores: Scores, names: Sequence[str], options: Namespace) -> dict[str, object]:
    """The results as JSON."""
    return {
        "plan": str(options.plan),
        "checkpoints": [str(path) for path in options.checkpoints],
        "data": options.data,
        "part": options.part,
        "views": options.views,
        **scores.summary(),
        "classes": [{"name": names[int(row["label"])]} | row for row in scores.by_class()],
        "confusions": scores.confusions(options.confusions),
    }


# ----------------------------------------------------------------------------- command


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m runtime.evaluate", description=main.__doc__)
    add_options(parser, several=True)
    add = parser.add_argument
    add("--part", choices=("train", "validation"), default="validation", help="of the data")
    add("--per-class", action="store_true", help="a line for each class, too")
    add("--confusions", type=count, default=5, metavar="N", help="commonest mistakes (default 5)")
    add("--out", type=Path, metavar="FILE", help="write all results as JSON")
    add("--probabilities", type=Path, metavar="FILE", help="write them as .npy [images,classes]")
    return parser.parse_args()


def main() -> None:
    """Evaluate checkpoints of a plan's network, or several as an ensemble."""
    options = _options()
    with opened(options) as network:
        names, part = network.names(), getattr(network.dataset, options.part)
        with Bar("evaluated", len(part) * len(options.checkpoints)) as bar:
            probabilities = averaged(network, options.checkpoints, part, bar)
    scores = score(probabilities, part.labels)
    print("\n".join(report(scores, names, options)))
    if options.out:
        write_json(options.out, facts(scores, names, options))
    if options.probabilities:
        write_npy(options.probabilities, probabilities)


if __name__ == "__main__":
    run(main)
