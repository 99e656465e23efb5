"""What a GPU can do at most, measured by kernels that do one thing only (`ceiling_kernels`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from codegen.cost.nominal import VECTOR_FLOPS
from codegen.cost.speeds import GUESSES
from codegen.tuning.cuda import timing
from codegen.tuning.cuda.ceiling_kernels import LAUNCHES, MEMORY, NOTHING
from ir.plan import Speeds, folder, read
from ir.plan.prediction import NANO
from runtime.cuda.driver import Gpu


@dataclass(frozen=True)
class Ceilings:
    """What a card reached: operations per second by the form of operands, bytes per second, and
    the seconds of a launch that does nothing."""

    flops: Mapping[str, float]
    bytes: float
    launch: float

    def least(self, form: str, flops: int, moved: int) -> float:
        """Seconds that these allow for so many operations and bytes."""
        return max(flops / self.flops[form], moved / self.bytes)

    def speeds(self, gpu: Gpu) -> Speeds:
        """For predictions: what kernels take at least on the GPU that these are of.

        What was not measured is as it was guessed: transfers, and how much dearer than a
        multiply-add other instructions are.
        """
        guess = GUESSES["cuda"]
        taken = {form: rounded(VECTOR_FLOPS / rate / NANO) for form, rate in self.flops.items()}
        multiply_add = taken.pop("f32")
        slower = multiply_add / guess.multiply_adds
        return replace(
            guess,
            unit=gpu.name,
            origin=f"measured on {gpu.name}",
            processors=max(1, gpu.processors),
            multiply_adds=multiply_add,
            simple=rounded(guess.simple * slower),
            dear=rounded(guess.dear * slower),
            near=rounded(self.bytes),
            far=rounded(self.bytes),
            launch=rounded(self.launch / NANO),
            **taken,
        )


def measured(path: Path) -> Ceilings:
    """Those of this machine's first GPU, by the plan that `ceiling_kernels.build` made.

    Raises Error where it cannot be run here.
    """
    plan = read(path)
    least = timing.seconds(plan, folder(path))
    moved = plan.kernels[MEMORY].moved / least.pop(MEMORY)
    launch = least.pop(NOTHING) / LAUNCHES
    return Ceilings({n: plan.kernels[n].flops / s for n, s in least.items()}, moved, launch)


def rounded(value: float) -> float:
    """Three digits: more would be noise."""
    return float(f"{value:.3g}")
