"""How right probabilities are: errors, log-probability, per class, and what is taken for what."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int32]
Row = dict[str, int | float]

LEAST = float(np.finfo(np.float32).tiny)
"""A probability below this is taken for this, so that its logarithm is a number."""


def right(probabilities: Floats, labels: Labels, top: int) -> Floats:
    """By image [n]: how right the `top` likeliest classes of [n,classes] are, from 0 to 1.

    Ties count in part, as in the 2012 program: with g classes likelier than the label's and e as
    likely (itself included), the label is among them with probability clip((top - g) / e, 0, 1).
    """
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    greater, equal = (probabilities > own).sum(axis=1), (probabilities == own).sum(axis=1)
    return np.asarray(np.clip((top - greater) / equal, 0, 1))


@dataclass(frozen=True, eq=False)
class Scores:
    """By image [n]: the label, the likeliest class, how right, and log p[label] in nats."""

    classes: int
    labels: Labels
    likeliest: npt.NDArray[np.int64]
    top1: Floats
    top5: Floats
    log: Floats

    def summary(self) -> Row:
        """The errors, between 0 and 1, and the mean log-probability of all images."""
        return self._row(np.ones(len(self.labels), np.bool_))

    def by_class(self) -> list[Row]:
        """The same for the images of each class, for the classes that have any."""
        return [
            {"label": int(label)} | self._row(self.labels == label)
            for label in np.unique(self.labels)
        ]

    def confusions(self, count: int) -> list[Row]:
        """The commonest mistakes: a label, the class it is taken for, and how many images are."""
        wrong = self.labels != self.likeliest
        pairs = self.labels[wrong].astype(np.int64) * self.classes + self.likeliest[wrong]
        found, images = np.unique(pairs, return_counts=True)
        first = np.argsort(-images, kind="stable")[:count]
        return [
            {"label": pair // self.classes, "taken_for": pair % self.classes, "images": many}
            for pair, many in zip(found[first].tolist(), images[first].tolist(), strict=True)
        ]

    def _row(self, chosen: npt.NDArray[np.bool_]) -> Row:
        return {
            "images": int(chosen.sum()),
            "top1_error": float(1 - self.top1[chosen].mean()),
            "top5_error": float(1 - self.top5[chosen].mean()),
            "log_probability": float(self.log[chosen].mean()),
        }


def score(probabilities: Floats, labels: Labels) -> Scores:
    """Compare probabilities [n,classes] with labels [n], n >= 1."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    return Scores(
        classes=probabilities.shape[1],
        labels=labels,
        likeliest=probabilities.argmax(axis=1),
        top1=right(probabilities, labels, 1),
        top5=right(probabilities, labels, 5),
        log=np.log(np.maximum(own, LEAST)),
    )
