"""A program with every name and offset replaced by a function and its addresses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ir.plan import Move, Program, Run
from runtime.device import Bytes, Physical, pointer
from runtime.library import Function
from runtime.packing import Array, pack
from runtime.state import DTYPES, write_packed
from runtime.transfer import Copy, Rendezvous, copier

Step = Run | Move
Meetings = Mapping[tuple[int, int], Rendezvous]
"""Where two logical devices meet that are on different physical ones, by (source, target)."""


@dataclass(frozen=True)
class Call:
    """One step as one logical device sees it, ready to be done."""

    device: int
    step: Step
    do: Callable[[], object]


@dataclass(frozen=True)
class Machine:
    """Everything that steps are bound to."""

    functions: Mapping[str, Function]
    memories: Sequence[Bytes]
    meetings: Meetings

    def calls(self, program: Program, physical: Physical, scratch: Bytes) -> list[Call]:
        """The steps in which a physical device takes part, in their order."""
        return [
            call
            for step in program.steps
            for call in (
                self._run(step, physical, scratch)
                if isinstance(step, Run)
                else self._move(step, physical)
            )
        ]

    def fill(self, program: Program, devices: Sequence[int]) -> None:
        """Write the program's constants on some logical devices."""
        for fill in program.fills:
            if fill.tensor.device in devices:
                layout, dtype = fill.tensor.layout, DTYPES[fill.tensor.dtype]
                packed: Array = pack(np.full(layout.shape, fill.value, dtype), layout)
                write_packed(self.memories, fill.tensor, packed)

    def _run(self, step: Run, physical: Physical, scratch: Bytes) -> Iterator[Call]:
        if step.device in physical.logical:
            places = [pointer(self.memories[step.device], offset) for offset in step.offsets]
            function = self.functions[step.kernel]
            do = partial(function, physical.threads, pointer(scratch), *places)
            yield Call(step.device, step, do)

    def _move(self, step: Move, physical: Physical) -> Iterator[Call]:
        sends, receives = step.source in physical.logical, step.target in physical.logical
        if sends and receives:
            yield Call(step.target, step, self._copy(step))
        elif sends:
            yield Call(step.source, step, self.meetings[step.source, step.target].send)
        elif receives:
            meeting = self.meetings[step.source, step.target]
            yield Call(step.target, step, partial(meeting.receive, self._copy(step)))

    def _copy(self, step: Move) -> Copy:
        source = pointer(self.memories[step.source], step.source_offset)
        return copier(pointer(self.memories[step.target], step.target_offset), source, step.bytes)


def meetings(bound: Sequence[Physical]) -> dict[tuple[int, int], Rendezvous]:
    """One place to meet for each pair of physical devices, in each direction."""
    return {
        (source, target): place
        for one in bound
        for other in bound
        if one is not other
        for place in [Rendezvous()]
        for source in one.logical
        for target in other.logical
    }
