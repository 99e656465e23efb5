"""Runs the programs of a plan: everything is bound once, then every run only calls.

One host thread per physical device walks the merged order of its logical devices. Each walks a
part of one total order and waits only for transfers, so no two can wait for each other in a circle.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

import numpy.typing as npt

from ir.command import Error
from ir.plan import Plan, Program, Tensor
from runtime import device, library
from runtime.bound import Call, Machine, Step, meetings
from runtime.device import Bytes, Physical
from runtime.feeds import Feeds, Packed
from runtime.packing import Array
from runtime.state import States, read_tensor, write_packed, write_tensor
from runtime.transfer import Halted


@dataclass(frozen=True)
class Event:
    """A logical device's part in one step, in seconds of `perf_counter`."""

    device: int
    step: Step
    start: float
    end: float


Watch = Callable[[Event], None]
"""Called by the devices' threads after each step."""


class Executor:
    """A checked plan on this machine. Use it in a `with` statement."""

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        *,
        binding: str | None = None,
        threads: int | None = None,
    ) -> None:
        """Load the kernels in `directory`, allocate the arenas (zeroed) and the scratch.

        `binding` as "cpu:0,cpu:1" instead of the plan's own; `threads` of all devices together,
        by default one per core. Raises Error for a binding or a file that does not fit the plan,
        DoesNotFit for lack of memory.
        """
        names = plan.binding if binding is None else tuple(binding.split(","))
        self.plan = plan
        self._bound = device.bind(names, len(plan.devices), threads)
        per_thread = max((kernel.scratch for kernel in plan.kernels.values()), default=0)
        scratches = [per_thread * physical.threads for physical in self._bound]
        device.require(sum(d.arena for d in plan.devices) + sum(scratches))
        most = max(physical.threads for physical in self._bound)
        functions = library.load(plan, directory, most)
        self._memories = [device.memory(d.arena) for d in plan.devices]
        self._scratches = [device.memory(size) for size in scratches]
        self._machine = Machine(functions, self._memories, meetings(self._bound))
        self.states = States(plan, self._memories)
        self._feeds = {name: Feeds(program) for name, program in plan.programs.items()}
        self._fed: dict[str, dict[str, Packed]] = {name: {} for name in plan.programs}
        self._calls = {name: self._bind(program) for name, program in plan.programs.items()}
        self._current = ""
        self._halted = False
        self._threads = [_thread(physical) for physical in self._bound]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads."""
        self._halt()
        for thread in self._threads:
            thread.shutdown()

    # ---------------------------------------------------------------------- in and out

    def pack(self, program: str, name: str, value: npt.ArrayLike) -> Packed:
        """What `feed` takes, made ahead; any thread may call it. Raises DataError as `feed`."""
        return self._feeds[program].pack(name, value)

    def feed(self, program: str, name: str, value: npt.ArrayLike | Packed) -> None:
        """Set a feed by its logical name, for all runs until it is fed again.

        Raises DataError for an unknown name, another shape or type, and integers out of range.
        """
        packed = value if isinstance(value, Packed) else self.pack(program, name, value)
        if packed.name != name or len(packed.parts) != len(self._feeds[program].copies[name]):
            raise ValueError(f"feed '{name}' was given what was packed for '{packed.name}'")
        self._fed[program][name] = packed

    def output(self, program: str, name: str) -> Array:
        """A copy of an output of the last run. Raises Error for an unknown one."""
        outputs = {tensor.name: tensor for tensor in self.plan.programs[program].outputs}
        if name not in outputs:
            raise Error(f"output '{name}' is unknown, expected one of {', '.join(outputs)}")
        return self.read(outputs[name])

    def read(self, tensor: Tensor) -> Array:
        """A copy of what lies where a record says."""
        return read_tensor(self._memories, tensor)

    def write(self, tensor: Tensor, value: Array) -> None:
        """Put a value of the record's shape and dtype there."""
        write_tensor(self._memories, tensor, value)

    def memory(self, logical: int) -> Bytes:
        """The arena of a logical device itself."""
        return self._memories[logical]

    # --------------------------------------------------------------------------- runs

    def run(self, program: str, watch: Watch | None = None) -> None:
        """Do all steps. Raises Error if something was not fed, and what any device raised.

        After an exception or an interrupt the devices have stopped, somewhere within the program.
        """
        self._require_fed(program)
        self._halted = False
        jobs: list[Future[None]] = []
        try:
            for place, thread in enumerate(self._threads):
                jobs.append(thread.submit(self._walk, program, place, watch))
            wait(jobs)
        except BaseException:
            self._halt()
            self._drain()
            raise
        finally:
            self._reset(program)
        _raise_first(jobs)

    def begin(self, program: str) -> None:
        """Put constants and feeds in place, as `run` does before the first step."""
        self._require_fed(program)
        for physical in self._bound:
            self._prepare(program, physical)

    def step(self, program: str, index: int) -> None:
        """Do one step alone; `begin` and the steps before it must have been done."""
        everything = Physical("", tuple(range(len(self.plan.devices))), self._bound[0].threads)
        only = self.plan.programs[program].steps[index]
        alone = Program(batch=1, feeds=(), fills=(), steps=(only,), outputs=())
        for call in self._machine.calls(alone, everything, self._scratches[0]):
            self._threads[0].submit(call.do).result()
        self._current = ""

    def _bind(self, program: Program) -> list[list[Call]]:
        return [
            self._machine.calls(program, physical, scratch)
            for physical, scratch in zip(self._bound, self._scratches, strict=True)
        ]

    def _walk(self, program: str, place: int, watch: Watch | None) -> None:
        """What the thread of one physical device does in a run."""
        try:
            self._prepare(program, self._bound[place])
            for call in self._calls[program][place]:
                if self._halted:
                    raise Halted
                start = perf_counter()
                call.do()
                if watch is not None:
                    watch(Event(call.device, call.step, start, perf_counter()))
        except BaseException:
            self._halt()
            raise

    def _prepare(self, program: str, physical: Physical) -> None:
        if program != self._current:
            # Another program's values may lie where this one's constants do.
            self._machine.fill(self.plan.programs[program], physical.logical)
        for name, copies in self._feeds[program].copies.items():
            for feed, part in zip(copies, self._fed[program][name].parts, strict=True):
                if feed.tensor.device in physical.logical:
                    write_packed(self._memories, feed.tensor, part)

    def _require_fed(self, program: str) -> None:
        missing = self._feeds[program].copies.keys() - self._fed[program].keys()
        if missing:
            raise Error(f"program {program}: '{min(missing)}' was never fed, expected a value")

    def _halt(self) -> None:
        self._halted = True
        for meeting in self._machine.meetings.values():
            meeting.halt()

    def _drain(self) -> None:
        """Wait until every thread is free; an interrupt may have lost sight of a job."""
        wait([thread.submit(int) for thread in self._threads])

    def _reset(self, program: str) -> None:
        self._current = program
        if self._halted:
            # Some devices have not even begun.
            self._current = ""
            for meeting in self._machine.meetings.values():
                meeting.reset()


def _thread(physical: Physical) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        1, physical.name, initializer=library.configure_pool, initargs=(physical.threads,)
    )


def _raise_first(jobs: list[Future[None]]) -> None:
    """Raise what stopped a run, rather than what it made the others raise."""
    errors = [error for job in jobs if (error := job.exception()) is not None]
    causes = [error for error in errors if not isinstance(error, Halted)]
    for error in causes or errors:
        raise error
