"""A program's run as tasks: what each does, in which stream, and which bytes it touches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ir.plan import Launch, Move, Plan, Program, Run, TensorMap
from runtime.cuda.cubins import Kernels
from runtime.cuda.driver import Driver, Stream
from runtime.cuda.hazards import Operation, Span
from runtime.cuda.mail import Bundle, Mail, Parcel
from runtime.cuda.maps import Words
from runtime.cuda.memory import Device
from runtime.cuda.slot import Box, part
from runtime.executor import Step
from runtime.memory import Bytes

Pair = tuple[int, int]
"""Source and target of moves, as logical devices."""


@dataclass(frozen=True)
class Task(Operation):
    """Something to be handed to the driver; of a step also the logical devices it is shown for."""

    stream: Stream
    issue: Callable[[], None]
    step: Step | None = None
    devices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Machine:
    """Everything that tasks are bound to.

    `kernels` are those loaded on the GPU of each device. `bridges` are pinned, for moves between
    GPUs that cannot reach each other.
    """

    driver: Driver
    plan: Plan
    devices: Sequence[Device]
    kernels: Sequence[Kernels]
    bridges: Mapping[Pair, Bytes]

    def run(self, program: Program, mails: Sequence[Mail], boxes: Sequence[Box]) -> list[Task]:
        """A whole run."""
        return [
            *self.deliver(mails, boxes),
            *(task for step in program.steps for task in self.step(step)),
            *self.fetch(mails, boxes),
        ]

    def deliver(self, mails: Sequence[Mail], boxes: Sequence[Box]) -> Iterator[Task]:
        """Feeds from a slot's boxes into the arenas."""
        for device, mail, box in zip(self.devices, mails, boxes, strict=True):
            for bundle in mail.bundles():
                yield self._delivery(device, bundle, box)

    def fetch(self, mails: Sequence[Mail], boxes: Sequence[Box]) -> Iterator[Task]:
        """Outputs into a slot's boxes."""
        for device, mail, box in zip(self.devices, mails, boxes, strict=True):
            for parcel in mail.outputs:
                yield self._output(device, parcel, box)

    def step(self, step: Step) -> Iterator[Task]:
        """A step: one task, or two for what goes through the host."""
        if isinstance(step, Run):
            yield self._run(step)
        elif (step.source, step.target) in self.bridges:
            yield from self._carry(step, self.bridges[step.source, step.target])
        else:
            yield self._move(step)

    def _delivery(self, device: Device, bundle: Bundle, box: Box) -> Task:
        target, source = device.arena.address + bundle.offset, box.inbox + bundle.place
        return Task(
            stream=device.compute,
            reads=(),
            writes=(_span(device, bundle.offset, bundle.bytes),),
            issue=partial(self.driver.copy, target, source, bundle.bytes, device.compute),
        )

    def _output(self, device: Device, parcel: Parcel, box: Box) -> Task:
        target, tensor = part(box.outbox, parcel), parcel.tensor
        source = device.arena.address + tensor.offset
        return Task(
            stream=device.compute,
            reads=(_span(device, tensor.offset, tensor.bytes),),
            writes=(),
            issue=partial(self.driver.download, target, source, device.compute),
        )

    def _run(self, step: Run) -> Task:
        device = self.devices[step.device]
        arguments = self.plan.kernels[step.kernel].arguments
        places = list(zip(step.offsets, arguments, strict=True))
        kernel = self.kernels[step.device][step.kernel]
        launches = [(loaded, self._given(loaded.launch, step)) for loaded in kernel]

        def issue() -> None:
            for loaded, given in launches:
                launch, shared = loaded.launch, loaded.launch.dynamic
                extents = launch.grid, launch.block
                self.driver.launch(loaded.function, *extents, given, device.compute, shared=shared)

        return Task(
            stream=device.compute,
            reads=tuple(_span(device, o, a.bytes) for o, a in places if a.access == "read"),
            writes=tuple(_span(device, o, a.bytes) for o, a in places if a.access != "read"),
            issue=issue,
            step=step,
            devices=(step.device,),
        )

    def _given(self, launch: Launch, step: Run) -> list[int | Words]:
        """What a launch gets: pointers into the device's memory, and maps of what lies there."""
        device, arguments = self.devices[step.device], self.plan.kernels[step.kernel].arguments
        # -1, the last of these, is the scratch.
        pointers = [*(device.arena.address + offset for offset in step.offsets), device.scratch]

        def given(argument: int | TensorMap) -> int | Words:
            if isinstance(argument, int):
                return pointers[argument]
            place = argument.argument
            dtype = arguments[place].dtype
            return self.driver.tensor_map(device.gpu, argument, dtype, pointers[place])

        return [given(argument) for argument in launch.arguments]

    def _move(self, step: Move) -> Task:
        source, target = self.devices[step.source], self.devices[step.target]
        begin = source.arena.address + step.source_offset
        end = target.arena.address + step.target_offset
        return Task(
            stream=target.copies,
            reads=(_span(source, step.source_offset, step.bytes),),
            writes=(_span(target, step.target_offset, step.bytes),),
            issue=partial(self.driver.copy, end, begin, step.bytes, target.copies),
            step=step,
            devices=(step.target,) if source.gpu == target.gpu else (step.source, step.target),
        )

    def _carry(self, step: Move, bridge: Bytes) -> Iterator[Task]:
        source, target = self.devices[step.source], self.devices[step.target]
        held, between = bridge[: step.bytes], Span((step.source, step.target), 0, step.bytes)
        begin = source.arena.address + step.source_offset
        end = target.arena.address + step.target_offset
        yield Task(
            stream=source.copies,
            reads=(_span(source, step.source_offset, step.bytes),),
            writes=(between,),
            issue=partial(self.driver.download, held, begin, source.copies),
            step=step,
            devices=(step.source,),
        )
        yield Task(
            stream=target.copies,
            reads=(between,),
            writes=(_span(target, step.target_offset, step.bytes),),
            issue=partial(self.driver.upload, end, held, target.copies),
            step=step,
            devices=(step.target,),
        )


def _span(device: Device, offset: int, size: int) -> Span:
    return Span(device.number, offset, offset + size)
