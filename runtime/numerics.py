"""Where NaN and infinity come from: programs run one step at a time, every value looked at.

States are updated in place, so a run that went wrong cannot be repeated; hence the look at all.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ir.command import Error, Exit
from ir.plan import Argument, Move, Program, Run
from runtime.executor import Executor, Outputs, Watch
from runtime.memory import decoded

Numbers = npt.NDArray[Any]
_Place = tuple[int, int]  # device and offset
_Known = dict[_Place, str]  # the name of what lies there


class NumericsError(Error):
    """A number that is none."""

    exit = Exit.NUMERICS


class Checked:
    """Runs an executor's programs and names the first kernel that writes NaN or infinity.

    Plans do not say how intermediate values are shaped, so the padding in them counts too.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor, self._kernels = executor, executor.plan.kernels

    def run(self, program: str, watch: Watch | None = None) -> Outputs:
        """In place of `Executor.run`; `watch` is told nothing. Raises NumericsError."""
        executor, record = self._executor, self._executor.plan.programs[program]
        executor.begin(program)
        known = self._given(record)
        for step in record.steps:
            read = self._read(step, known) if isinstance(step, Run) else {}
            executor.step(program, step.index)
            if isinstance(step, Move):
                copied = known.get((step.source, step.source_offset), step.value)
                known[step.target, step.target_offset] = copied
            elif bad := next(self._bad(step, known), None):
                raise NumericsError(
                    f"program {program}, step {step.index} of {len(record.steps)}, kernel "
                    f"{step.kernel} on device {step.device}: it wrote {bad}; it read "
                    + "; ".join(f"{name}: {statistics(value)}" for name, value in read.items())
                )
        found = {tensor.name: executor.read(tensor) for tensor in record.outputs}
        return lambda: found

    def _given(self, program: Program) -> _Known:
        """What lies there before the first step."""
        plan = self._executor.plan
        tensors = [state.tensor for state in plan.states]
        tensors += [feed.tensor for feed in program.feeds]
        tensors += [fill.tensor for fill in program.fills]
        return {(t.device, t.offset): t.name for t in tensors}

    def _read(self, step: Run, known: _Known) -> dict[str, Numbers]:
        """Copies of a step's operands, before it may write over them."""
        found = {}
        for offset, argument in zip(step.offsets, self._arguments(step), strict=True):
            if argument.access != "write":
                name = known.get((step.device, offset), f"what lies at {offset}")
                found[name] = self._at(step.device, offset, argument).copy()
        return found

    def _bad(self, step: Run, known: _Known) -> Iterator[str]:
        """Which of the values that a step wrote are no numbers; takes note of what they are."""
        arguments = self._arguments(step)
        names = _results(step, arguments, known)
        for offset, argument in zip(step.offsets, arguments, strict=True):
            if argument.access == "write":
                known[step.device, offset] = next(names)
            if argument.access != "read":
                value = self._at(step.device, offset, argument)
                if not np.isfinite(value).all():
                    yield f"{known[step.device, offset]}: {statistics(value)}"

    def _at(self, device: int, offset: int, argument: Argument) -> Numbers:
        stored = self._executor.memories[device].read(offset, argument.bytes)
        return decoded(stored, argument.dtype)

    def _arguments(self, step: Run) -> tuple[Argument, ...]:
        return self._kernels[step.kernel].arguments


def statistics(value: Numbers) -> str:
    """The range and mean of the finite numbers, and how many others there are."""
    nan, infinite = int(np.isnan(value).sum()), int(np.isinf(value).sum())
    counts = f"{nan} NaN and {infinite} infinite of {value.size}"
    finite = value[np.isfinite(value)].astype(np.float64)
    if not finite.size:
        return counts
    return f"min {finite.min():g}, max {finite.max():g}, mean {finite.mean():g}, {counts}"


def _results(step: Run, arguments: tuple[Argument, ...], known: _Known) -> Iterator[str]:
    """The names of what a step only writes; the plan tells them together with what it updates."""
    places = zip(step.offsets, arguments, strict=True)
    states = {known[step.device, o] for o, a in places if a.access == "update"}
    names = [name for name in step.writes if name.removesuffix(".next") not in states]
    count = sum(argument.access == "write" for argument in arguments)
    return iter(names if len(names) == count else [", ".join(step.writes)] * count)
