"""Runs plans on the processor: everything is bound once, then every run only calls.

One host thread per physical device walks the merged order of its logical devices. Each walks a
part of one total order and waits only for transfers, so no two can wait for each other in a circle.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

from ir.plan import Plan, Program
from runtime import fit
from runtime.binding import Physical
from runtime.cpu import library, memory, processor
from runtime.cpu.bound import Call, Machine, Share, meetings
from runtime.cpu.memory import Arena
from runtime.cpu.threads import share_out
from runtime.cpu.transfer import Halted
from runtime.cpu.worker import Job, Worker
from runtime.executor import Event, Executor, Outputs, Watch
from runtime.memory import read_tensor, write_packed


class CpuExecutor(Executor):
    """Threads and arenas of one process."""

    def __init__(
        self, plan: Plan, directory: Path, bound: Sequence[Physical], threads: int | None
    ) -> None:
        """Load the kernels in `directory`, allocate the arenas (zeroed) and the scratch.

        Raises Error for files that do not fit the plan, DoesNotFit for lack of memory.
        """
        processor.require(plan)
        counts = share_out(bound, threads)
        scratch = [plan.scratch(count) for count in counts]
        needs = [_need(plan, sum(scratch))]
        fit.require(plan, needs)
        functions = library.load(plan, directory, max(counts))
        arenas = [Arena(device.arena) for device in plan.devices]
        super().__init__(plan, arenas, needs)
        self._shares = [
            Share(physical.logical, count, memory.allocate(size))
            for physical, count, size in zip(bound, counts, scratch, strict=True)
        ]
        self._machine = Machine(functions, arenas, meetings(bound))
        self._calls = {name: self._bind(program) for name, program in plan.programs.items()}
        self._current = ""
        self._halted = False
        self._workers = [
            Worker(physical.name, partial(library.configure_pool, count))
            for physical, count in zip(bound, counts, strict=True)
        ]

    def close(self) -> None:
        """End the threads."""
        self._halt()
        for worker in self._workers:
            worker.close()

    def step(self, program: str, index: int) -> None:
        """Do one step alone; `begin` and the steps before it must have been done."""
        first = self._shares[0]
        everything = Share(tuple(range(len(self.plan.devices))), first.threads, first.scratch)
        only = self.plan.programs[program].steps[index]
        alone = Program(batch=1, feeds=(), fills=(), steps=(only,), outputs=())
        for call in self._machine.calls(alone, everything):
            self._workers[0].submit(call.do).result()
        self._current = ""

    def _run(self, program: str, watch: Watch | None) -> Outputs:
        self._halted = False
        jobs: list[Job] = []
        try:
            for share, calls, worker in zip(
                self._shares, self._calls[program], self._workers, strict=True
            ):
                jobs.append(worker.submit(partial(self._walk, program, share, calls, watch)))
            for job in jobs:
                job.wait()
        except BaseException:
            # An interrupt may have lost sight of a job.
            self._halt()
            for worker in self._workers:
                worker.drain()
            raise
        finally:
            self._reset(program)
        _raise_first(jobs)
        outputs = self.plan.programs[program].outputs
        values = {tensor.name: read_tensor(self.memories, tensor) for tensor in outputs}
        return lambda: values

    def _begin(self, program: str) -> None:
        for share in self._shares:
            self._prepare(program, share)

    def _bind(self, program: Program) -> list[list[Call]]:
        return [self._machine.calls(program, share) for share in self._shares]

    def _walk(self, program: str, share: Share, calls: list[Call], watch: Watch | None) -> None:
        """What the thread of one physical device does in a run."""
        try:
            self._prepare(program, share)
            for call in calls:
                if self._halted:
                    raise Halted
                start = perf_counter()
                call.do()
                if watch is not None:
                    watch(Event(call.device, call.step, start, perf_counter()))
        except BaseException:
            self._halt()
            raise

    def _prepare(self, program: str, share: Share) -> None:
        if program != self._current:
            # Another program's values may lie where this one's constants do.
            self._machine.fill(self.plan.programs[program], share.logical)
        for name, copies in self._feeds[program].copies.items():
            for feed, part in zip(copies, self._fed[program][name].parts, strict=True):
                if feed.tensor.device in share.logical:
                    write_packed(self.memories, feed.tensor, part)

    def _halt(self) -> None:
        self._halted = True
        for meeting in self._machine.meetings.values():
            meeting.halt()

    def _reset(self, program: str) -> None:
        self._current = program
        if self._halted:
            # Some devices have not even begun.
            self._current = ""
            for meeting in self._machine.meetings.values():
                meeting.reset()


def _need(plan: Plan, scratch: int) -> fit.Need:
    """What the machine must hold; its devices share one memory."""
    arenas = {f"arena of device {i}": device.arena for i, device in enumerate(plan.devices)}
    parts = {**arenas, "scratch": scratch}
    fixed = fit.states(plan, range(len(plan.devices)))
    return fit.Need("host", parts, fixed, memory.available())


def _raise_first(jobs: Sequence[Job]) -> None:
    """Raise what stopped a run, rather than what it made the others raise."""
    errors = [job.error for job in jobs if job.error is not None]
    causes = [error for error in errors if not isinstance(error, Halted)]
    for error in causes or errors:
        raise error
