"""A trained network looks at images: what its evaluation puts out, averaged over views."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt

from ir.command import Error
from ir.plan import Feed, Plan
from runtime.data.batches import SUPPLIED, Batches, Values
from runtime.data.dataset import Dataset, Part
from runtime.data.prefetch import prefetched
from runtime.executor import Executor, Outputs
from runtime.feeds import Packed
from runtime.numerics import NumericsError
from runtime.programs import EVALUATE
from runtime.views import View, views

Floats = npt.NDArray[np.float64]
Prepared = dict[str, Packed]

PROBABILITIES, FEATURES = "probabilities", "penultimate"


class Classifier:
    """The evaluation program of an executor, with the states that this has by then."""

    def __init__(self, executor: Executor, dataset: Dataset, count: int) -> None:
        """`dataset` gives the mean image, `count` is that of the views.

        Raises Error for a plan without an evaluation, or with one that cannot take such views.
        """
        self._executor, self._dataset = executor, dataset
        self._feeds = evaluation_feeds(executor.plan)
        self._views = [self._view_feeds(view) for view in self._chosen(count)]

    @property
    def classes(self) -> int:
        """How many classes the network tells apart."""
        return self._feeds["labels"].below

    def look(self, part: Part, names: Sequence[str]) -> Iterator[dict[str, Floats]]:
        """For each batch of a part in order: outputs by name, one row per image.

        They are means over the views. Raises Error for an unknown name, NumericsError for NaN.
        """
        require_outputs(self._executor.plan, names)
        batches = Batches(self._dataset, part, self._feeds.values())
        self._feed(self._packed(batches.fixed))
        with closing(self._runs(batches)) as runs:
            for first in range(0, len(part), batches.batch_size):
                rows = min(batches.batch_size, len(part) - first)
                seen = [next(runs)() for _ in self._views]
                yield {name: _mean([one[name][:rows] for one in seen], name) for name in names}

    def see(self, part: Part, names: Sequence[str]) -> dict[str, Floats]:
        """The same for all images of a part at once."""
        batches = list(self.look(part, names))
        return {name: np.concatenate([batch[name] for batch in batches]) for name in names}

    def _runs(self, batches: Batches) -> Generator[Outputs]:
        """One run for each view of each batch, started ahead where the devices can."""
        going: deque[Outputs] = deque()
        with closing(
            prefetched(lambda i: self._packed(batches.batch(i)), 0, batches.count)
        ) as prepared:
            for values in prepared:
                self._feed(values)
                for view in self._views:
                    self._feed(view)
                    going.append(self._executor.run(EVALUATE))
                    if len(going) > self._executor.ahead:
                        yield going.popleft()
        yield from going

    def _chosen(self, count: int) -> tuple[View, ...]:
        lacking = sorted({"offset", "flip"} - self._feeds.keys())
        if count > 1 and lacking:
            raise Error(f"--views {count}: the plan has no feed '{lacking[0]}'; expected --views 1")
        return views(count, self._feeds["offset"].below if "offset" in self._feeds else 1)

    def _view_feeds(self, view: View) -> Prepared:
        """What makes every image of a batch seen so."""
        size = self._feeds["images"].tensor.layout.shape[0]
        offset = np.full((size, 2), (view.row, view.column), np.int32)
        return self._packed({"offset": offset, "flip": np.full(size, view.mirrored, np.int32)})

    def _packed(self, values: Values) -> Prepared:
        known = values.keys() & self._feeds.keys()
        return {name: self._executor.pack(EVALUATE, name, values[name]) for name in known}

    def _feed(self, values: Prepared) -> None:
        for name, packed in values.items():
            self._executor.feed(EVALUATE, name, packed)


def evaluation_feeds(plan: Plan) -> dict[str, Feed]:
    """The feeds of a plan's evaluation. Raises Error for a plan without, or with unknown ones."""
    if EVALUATE not in plan.programs:
        known = ", ".join(plan.programs) or "none"
        raise Error(f"the plan cannot classify: its programs are {known}, expected '{EVALUATE}'")
    feeds = {feed.logical: feed for feed in plan.programs[EVALUATE].feeds}
    if unknown := sorted(feeds.keys() - set(SUPPLIED)):
        expected = ", ".join(SUPPLIED)
        raise Error(f"program {EVALUATE}: unknown feed '{unknown[0]}'; expected {expected}")
    return feeds


def require_outputs(plan: Plan, names: Sequence[str]) -> None:
    """Raise Error unless a plan's evaluation puts out these values."""
    known = [output.name for output in plan.programs[EVALUATE].outputs]
    for name in names:
        if name not in known:
            raise Error(
                f"the plan does not put out '{name}', only {', '.join(known)}; "
                f"build it with codegen.build --keep {name}"
            )


def _mean(seen: Sequence[npt.NDArray[np.generic]], name: str) -> Floats:
    mean: Floats = np.mean([one.astype(np.float64) for one in seen], axis=0)
    if not np.isfinite(mean).all():
        raise NumericsError(
            f"'{name}' has NaN or infinity; expected a checkpoint of finite numbers"
        )
    return mean
