"""A program with every name and offset replaced by a function and its addresses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ir.plan import Move, Program, Run
from runtime.binding import Physical
from runtime.cpu.library import Function
from runtime.cpu.memory import Arena, pointer
from runtime.cpu.transfer import Copy, Rendezvous, copier
from runtime.executor import Step
from runtime.memory import Bytes, filled, write_packed

Meetings = Mapping[tuple[int, int], Rendezvous]
"""Where two logical devices meet that are on different physical ones, by (source, target)."""


@dataclass(frozen=True)
class Share:
    """What one physical device has: logical devices, threads and their scratch."""

    logical: tuple[int, ...]
    threads: int
    scratch: Bytes


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
    memories: Sequence[Arena]
    meetings: Meetings

    def calls(self, program: Program, share: Share) -> list[Call]:
        """The steps in which a physical device takes part, in their order."""
        return [
            call
            for step in program.steps
            for call in (
                self._run(step, share) if isinstance(step, Run) else self._move(step, share)
            )
        ]

    def fill(self, program: Program, devices: Sequence[int]) -> None:
        """Write the program's constants on some logical devices."""
        for fill in program.fills:
            if fill.tensor.device in devices:
                write_packed(self.memories, fill.tensor, filled(fill.tensor, fill.value))

    def _run(self, step: Run, share: Share) -> Iterator[Call]:
        if step.device in share.logical:
            places = [self.memories[step.device].pointer(offset) for offset in step.offsets]
            function = self.functions[step.kernel]
            do = partial(function, share.threads, pointer(share.scratch), *places)
            yield Call(step.device, step, do)

    def _move(self, step: Move, share: Share) -> Iterator[Call]:
        sends, receives = step.source in share.logical, step.target in share.logical
        if sends and receives:
            yield Call(step.target, step, self._copy(step))
        elif sends:
            yield Call(step.source, step, self.meetings[step.source, step.target].send)
        elif receives:
            meeting = self.meetings[step.source, step.target]
            yield Call(step.target, step, partial(meeting.receive, self._copy(step)))

    def _copy(self, step: Move) -> Copy:
        source = self.memories[step.source].pointer(step.source_offset)
        target = self.memories[step.target].pointer(step.target_offset)
        return copier(target, source, step.bytes)


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
