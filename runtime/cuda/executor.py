"""Runs plans on GPUs: every run is one graph, started without waiting for the run before.

The host waits for one thing only: before it stages feeds, for the run two before, whose slot it
takes. States are read and written when nothing runs.
"""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from itertools import combinations
from pathlib import Path

from ir.command import Error
from ir.plan import Move, Plan
from runtime import fit
from runtime.binding import Physical
from runtime.cuda import cubins
from runtime.cuda.driver import Driver
from runtime.cuda.flow import Flow, Stopwatch
from runtime.cuda.mail import Mail
from runtime.cuda.memory import Arena, Device
from runtime.cuda.slot import Room, Slot, room
from runtime.cuda.tasks import Machine, Pair
from runtime.executor import Executor, Outputs, Watch
from runtime.memory import Bytes, filled, write_packed

SLOTS = 2
REST = 64 * 1024 * 1024
"""Bytes on each GPU for graphs, events and the driver's own."""


class CudaExecutor(Executor):
    """Streams and memory on one GPU or several."""

    ahead = SLOTS - 1

    def __init__(
        self, plan: Plan, directory: Path, bound: Sequence[Physical], driver: Driver
    ) -> None:
        """Load the kernels in `directory`, allocate what they work in. `close` closes the driver.

        Raises Error for a GPU that does not exist and for files that do not fit the plan or the
        GPU, DoesNotFit for lack of memory.
        """
        with ExitStack() as undo:
            undo.callback(driver.close)
            self._driver = driver
            self._gpus = [physical.number for physical in bound]
            for gpu in self._gpus:
                driver.open(gpu)
            loaded = {gpu: cubins.load(driver, plan, directory, gpu) for gpu in self._gpus}
            gpu_of = {device: p.number for p in bound for device in p.logical}
            numbers = range(len(plan.devices))
            self._mails = {
                name: [Mail(program, device) for device in numbers]
                for name, program in plan.programs.items()
            }
            rooms = [room([mails[device] for mails in self._mails.values()]) for device in numbers]
            needs = [_need(plan, p, rooms, driver.free(p.number)) for p in bound]
            fit.require(plan, needs)
            devices = [
                self._device(device, gpu_of[device], plan.devices[device].arena, plan.scratch())
                for device in numbers
            ]
            super().__init__(plan, [device.arena for device in devices], needs)
            self._origin = devices[0].compute
            kernels = [loaded[gpu_of[device]] for device in numbers]
            self._machine = Machine(driver, plan, devices, kernels, _bridges(driver, plan, devices))
            self._slots = [Slot(driver, devices, rooms) for _ in range(SLOTS)]
            self._turn = 0
            self._current = ""
            undo.pop_all()

    def close(self) -> None:
        """Let go of the GPUs, after all that was started."""
        # What failed was, or will be, said by who asks for its results.
        with suppress(Error):
            self._settle()
        self._driver.close()

    def step(self, program: str, index: int) -> None:
        """Do one step alone; `begin` and the steps before it must have been done."""
        self._settle()
        for task in self._machine.step(self.plan.programs[program].steps[index]):
            task.issue()
            self._settle()

    def _begin(self, program: str) -> None:
        slot, mails = self._slots[0], self._mails[program]
        self._settle()
        self._current = ""
        self._place(program, slot)
        self._settle()
        for task in self._machine.deliver(mails, slot.boxes):
            task.issue()
        self._settle()

    def _run(self, program: str, watch: Watch | None) -> Outputs:
        slot = self._slots[self._turn]
        try:
            if watch is None:
                outputs = self._replay(program, slot)
            else:
                outputs = self._watched(program, slot, watch)
        except BaseException:
            with suppress(Error):
                self._settle()
            raise
        self._turn = (self._turn + 1) % SLOTS
        return outputs

    def _replay(self, program: str, slot: Slot) -> Outputs:
        if program not in slot.graphs:
            slot.graphs[program] = self._flow(program, slot).capture()
        self._place(program, slot)
        self._driver.replay(slot.graphs[program], self._origin)
        return slot.leave(self._mails[program])

    def _watched(self, program: str, slot: Slot, watch: Watch) -> Outputs:
        flow = self._flow(program, slot)
        self._place(program, slot)
        self._settle()
        stopwatch = Stopwatch(self._driver, [device.compute for device in self._machine.devices])
        flow.issue(stopwatch.time)
        outputs = slot.leave(self._mails[program])
        self._settle()
        for event in stopwatch.seen():
            watch(event)
        return outputs

    def _flow(self, program: str, slot: Slot) -> Flow:
        mails = self._mails[program]
        tasks = self._machine.run(self.plan.programs[program], mails, slot.boxes)
        return Flow(self._driver, tasks, self._origin)

    def _place(self, program: str, slot: Slot) -> None:
        """Constants in place, feeds on their way."""
        if program != self._current:
            # Another program's values may lie where this one's constants do, and the reverse.
            self._current = ""
            for fill in self.plan.programs[program].fills:
                write_packed(self.memories, fill.tensor, filled(fill.tensor, fill.value))
            self._current = program
        slot.load(program, self._mails[program], self._fed[program])

    def _settle(self) -> None:
        """Wait for all that was started."""
        for gpu in self._gpus:
            self._driver.synchronise(gpu)

    def _device(self, number: int, gpu: int, arena: int, scratch: int) -> Device:
        compute, copies, uploads = (self._driver.stream(gpu) for _ in range(3))
        return Device(
            number,
            Arena(self._driver, arena, compute, self._settle),
            self._driver.allocate(gpu, scratch),
            compute,
            copies,
            uploads,
        )


def _need(plan: Plan, physical: Physical, rooms: Sequence[Room], free: int) -> fit.Need:
    """What a GPU must hold."""
    arenas = {f"arena of device {i}": plan.devices[i].arena for i in physical.logical}
    parts = {
        **arenas,
        "scratch": plan.scratch() * len(physical.logical),
        "feeds": SLOTS * sum(rooms[device].feeds for device in physical.logical),
        "rest": REST,
    }
    return fit.Need(physical.name, parts, fit.states(plan, physical.logical) + REST, free)


def _bridges(driver: Driver, plan: Plan, devices: Sequence[Device]) -> dict[Pair, Bytes]:
    """Memory for moves between GPUs that cannot reach each other."""
    sizes: dict[Pair, int] = {}
    for program in plan.programs.values():
        for step in program.steps:
            if isinstance(step, Move):
                pair = step.source, step.target
                sizes[pair] = max(sizes.get(pair, 0), step.bytes)
    gpus = sorted({device.gpu for device in devices})
    apart = {pair for pair in combinations(gpus, 2) if not driver.share(*pair)}
    return {
        (source, target): driver.pin(devices[source].gpu, size)
        for (source, target), size in sizes.items()
        if tuple(sorted((devices[source].gpu, devices[target].gpu))) in apart
    }
