"""Steps of AlexNet on a GPU, ours beside PyTorch's in the same precision.

All contestants of a contest, which is a precision and a batch, are processes that take turns
(`gpu_worker`).
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import gpu_kernels
from benchmarks.contest import Contestant
from benchmarks.gpu_worker import FED, ONE, STEPS, TWO
from codegen.tuning.cuda.ceilings import Ceilings
from ir.command import Error
from ir.plan import read
from ir.plan.prediction import Prediction

ORDER = (
    *(("bf16", 128), ("bf16", 1024), ("tf32", 128), ("fp32", 128), ("tf32", 1024)),
    ("fp32", 1024),
)
"""Of contests, the most important first."""
PRECISIONS = tuple(dict.fromkeys(precision for precision, _ in ORDER))
BATCHES = tuple(dict.fromkeys(batch for _, batch in ORDER))
WARM = 0.8
"""Of a contest's time, after which what is still getting ready is out."""
LEAST = 90.0
"""Seconds of a contest: as long as PyTorch may need to compile a step."""

Figures = dict[str, object]


@dataclass(frozen=True)
class Contest:
    """Who does a step of so many images first."""

    precision: str
    batch: int

    def __str__(self) -> str:
        return f"{self.precision}, batch {self.batch:,}"

    @property
    def plan(self) -> str:
        """The plan of our first contestant."""
        return f"{self.precision}-{self.batch}"

    def ours(self, plans: Path) -> dict[str, str]:
        """Our contestants and their plans; PyTorch's images stay on the GPU, only the last one's
        do not."""
        found = {ONE: self.plan, TWO: f"{self.plan}-two", FED: self.plan}
        return {name: plan for name, plan in found.items() if (plans / plan).exists()}


def contests(plans: Path, precisions: Sequence[str], batches: Sequence[int]) -> list[Contest]:
    """Those that were asked for and have a plan. Raises Error where there is none."""
    asked = [Contest(p, b) for p, b in ORDER if p in precisions and b in batches]
    found = [each for each in asked if (plans / each.plan).exists()]
    if not found:
        names = ", ".join(each.plan for each in asked) or "another precision or batch"
        raise Error(f"{plans}: has no plan to measure, expected {names}")
    return found


def held(
    found: Sequence[Contest], plans: Path, ceilings: Ceilings, options: argparse.Namespace
) -> Iterator[list[Figures]]:
    """The rows of each contest, as long as there is time; of what has no figures, why."""
    end = time.monotonic() + options.seconds
    for place, contest in enumerate(found):
        left = end - time.monotonic()
        if place and left < LEAST:
            rows: list[Figures] = [{"failed": f"not begun within {options.seconds:.0f} s"}]
            print(f"\n{contest}: {rows[0]['failed']}")
        else:
            seconds = left / min(len(found) - place, max(1, left // LEAST))
            least = gpu_kernels.least(plans / contest.plan / "plan.json", ceilings)
            rows = _held(contest, plans, least, seconds, options)
        facts: Figures = {"precision": contest.precision, "batch": contest.batch}
        yield [facts | row for row in rows]


def _held(
    contest: Contest, plans: Path, least: float, seconds: float, options: argparse.Namespace
) -> list[Figures]:
    """`least` is the time of a step that the card's ceilings allow."""
    ours = contest.ours(plans)
    running = [_contestant(name, contest, plans) for name in (*ours, *options.modes)]
    failed: list[Figures] = []
    begin = time.monotonic()
    for number in range(1 + options.rounds):
        end = begin + seconds * (WARM if number == 0 else 1)
        for each in list(running):
            try:
                taken = each.turn(max(1.0, end - time.monotonic())) / STEPS
            except Error as error:
                each.stop()
                running.remove(each)
                failed.append({"name": each.name, "failed": str(error)})
                print(f"{contest}: {error}", flush=True)
            else:
                each.seconds += [taken] * (number > 0)
    for each in running:
        each.leave()
    ready = [each for each in running if each.seconds]
    predictions = {name: predicted(plans / plan / "plan.json") for name, plan in ours.items()}
    for line in table(contest, ready, least, predictions):
        print(line, flush=True)
    rows = (_facts(each, contest.batch, least, predictions.get(each.name)) for each in ready)
    return [*rows, *failed]


def predicted(path: Path) -> float:
    """Seconds of a training step, as its plan predicts them."""
    plan = read(path)
    return Prediction(plan, plan.binding, cores=1).timeline(plan.programs["train"]).seconds


def _contestant(name: str, contest: Contest, plans: Path) -> Contestant:
    plan = contest.ours(plans).get(name, contest.plan)
    command = [sys.executable, "-m", "benchmarks.gpu_worker", str(plans / plan / "plan.json")]
    facts = ["--precision", contest.precision, "--batch", str(contest.batch)]
    return Contestant(name, [*command, name, *facts], {})


def table(
    contest: Contest,
    contestants: Sequence[Contestant],
    least: float,
    predictions: Mapping[str, float],
) -> Iterator[str]:
    """Lines for people: what was predicted of ours, how many times as long as our first each
    takes, and the share of its time that the ceilings allow for our kernels."""
    ours = [median(each.seconds) for each in contestants if each.name == ONE]
    yield ""
    yield (
        f"{contest!s:30} {'ms a step':>9} {'least':>8} {'predicted':>9} {'images/s':>9} "
        f"{'ratio':>6} roofline"
    )
    for each in contestants:
        middle = median(each.seconds)
        times = f"{1e3 * middle:9.3f} {1e3 * min(each.seconds):8.3f}"
        meant = f"{1e3 * predictions[each.name]:9.3f}" if each.name in predictions else f"{'-':>9}"
        ratio = middle / ours[0] if ours else float("nan")
        rates = f"{contest.batch / middle:9.0f} {ratio:6.2f} {least / middle:8.0%}"
        yield f"{each.name:30} {times} {meant} {rates}"


def _facts(contestant: Contestant, batch: int, least: float, predicted: float | None) -> Figures:
    """For JSON; nothing is predicted of others than ours."""
    middle = median(contestant.seconds)
    return {
        "name": contestant.name,
        "seconds": contestant.seconds,
        "predicted": predicted,
        "images/s": batch / middle,
        "of ceiling": least / middle,
    }
