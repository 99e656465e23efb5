"""Speeds of a machine from kernels that were timed on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from msgspec.structs import asdict, replace

from codegen.cost.nominal import TENSOR
from ir.plan import Speeds, Work
from ir.plan.prediction import NANO, instructions, seconds, traffic

Vector = npt.NDArray[np.float64]
KINDS = tuple(kind for kind in Work.__struct_fields__ if kind not in TENSOR)
"""Of instructions that a CPU has."""
ROUNDS = 5
STEPS = 2_000
SHARP = 0.02
"""Errors below this count alike; larger ones count as they are, not squared."""


@dataclass(frozen=True)
class Sample:
    """A kernel's work, the bytes of its arguments, and its seconds times the cores it had."""

    work: Work
    moved: int
    seconds: float

    def bound_by_memory(self, speeds: Speeds) -> bool:
        """Whether its bytes take longer than its instructions."""
        return traffic(self.moved, speeds) > instructions(self.work, speeds)

    def error(self, speeds: Speeds) -> float:
        """Of a prediction, as a part of what was measured."""
        return abs(seconds(self.work, self.moved, speeds) / self.seconds - 1)


def fitted(samples: Sequence[Sample], start: Speeds) -> Speeds:
    """What instructions take, for relative errors to be small; what memory does stays as it is.

    Kernels that wait for memory tell nothing, but which do follows from the answer.
    """
    speeds = start
    for _ in range(ROUNDS):
        telling = [sample for sample in samples if not sample.bound_by_memory(speeds)]
        if len(telling) >= len(KINDS):
            speeds = _instructions(telling, start)
    return speeds


def _instructions(samples: Sequence[Sample], start: Speeds) -> Speeds:
    counts = np.array([[getattr(s.work, kind) for kind in KINDS] for s in samples], np.float64)
    parts = NANO * counts / np.array([[s.seconds] for s in samples])
    times = _non_negative(parts, np.array([asdict(start)[kind] for kind in KINDS]))
    return replace(start, **dict(zip(KINDS, (float(f"{t:.3g}") for t in times), strict=True)))


def _non_negative(parts: Vector, times: Vector) -> Vector:
    """Times for which parts @ times comes near 1, by multiplicative steps (Lee and Seung 2001)."""
    for _ in range(STEPS):
        sums = parts @ times
        weights = 1 / np.maximum(np.abs(sums - 1), SHARP)
        times = times * (weights @ parts + NANO) / (parts.T @ (weights * sums) + NANO)
    return times
