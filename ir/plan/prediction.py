"""How long a plan's steps will take, from what its kernels do and the speeds it was built with.

A kernel takes as long as its instructions or its memory traffic, whichever is more. A transfer
holds up both its devices until they meet; so a program's time is that of a simulated run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ir.plan.records import Cubins, Kernel, Launch, Move, Plan, Program, Run, Speeds, Work

NANO = 1e-9


def kernel_seconds(kernel: Kernel, speeds: Speeds, threads: float) -> float:
    """Of a kernel on a device that has so many cores, or is one GPU."""
    computing = instructions(kernel.work, speeds) / _busy(kernel, speeds.processors)
    working = max(computing, traffic(kernel.moved, speeds)) / threads
    return working + NANO * speeds.launch * max(map(len, _launches(kernel)), default=1)


def _busy(kernel: Kernel, processors: int) -> float:
    """The part of a GPU's processors that work, by the largest launch: blocks of threads come in
    rounds, the last of which may leave some idle."""
    grids = (prod(launch.grid) for launches in _launches(kernel) for launch in launches)
    blocks = max(grids, default=processors)
    return blocks / (processors * -(-blocks // processors))


def _launches(kernel: Kernel) -> list[tuple[Launch, ...]]:
    """A GPU's, of each architecture."""
    binaries = kernel.code.binaries.values() if isinstance(kernel.code, Cubins) else ()
    return [cubin.launches for cubin in binaries]


def seconds(work: Work, moved: int, speeds: Speeds) -> float:
    """Seconds of instructions and of memory traffic, which go on side by side, on one core."""
    return max(instructions(work, speeds), traffic(moved, speeds))


def instructions(work: Work, speeds: Speeds) -> float:
    """Seconds of instructions on one core."""
    kinds = Work.__struct_fields__
    return NANO * float(sum(getattr(work, kind) * getattr(speeds, kind) for kind in kinds))


def traffic(moved: int, speeds: Speeds) -> float:
    """Seconds that one core waits for so many bytes."""
    near = min(moved, speeds.cache)
    return near / speeds.near + (moved - near) / speeds.far


@dataclass(frozen=True)
class Slot:
    """A step and the physical devices that it keeps busy, from `start` to `end` in seconds."""

    step: Run | Move
    devices: tuple[str, ...]
    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """A simulated run, its steps in their order."""

    slots: tuple[Slot, ...]

    @property
    def seconds(self) -> float:
        """From its beginning to its end."""
        return max((slot.end for slot in self.slots), default=0.0)

    def busy(self, device: str) -> float:
        """Seconds in which a device works; it idles in the rest."""
        return sum(slot.end - slot.start for slot in self.slots if device in slot.devices)


class Prediction:
    """Predictions for a plan on a binding.

    `cores` is how many a machine's CPU devices share; a GPU is one of its own.
    """

    def __init__(self, plan: Plan, binding: Sequence[str], cores: int) -> None:
        self.plan, self.binding = plan, tuple(binding)
        self.devices = tuple(dict.fromkeys(binding))
        is_cpu = binding[0].startswith("cpu")
        self._threads = max(1, cores / len(self.devices)) if is_cpu else 1.0

    def seconds(self, step: Run | Move) -> float:
        """Of one step, when its devices have met."""
        speeds = self.plan.predicted
        if isinstance(step, Run):
            return kernel_seconds(self.plan.kernels[step.kernel], speeds, self._threads)
        return step.bytes / speeds.link

    def timeline(self, program: Program) -> Timeline:
        """A run of a program. Each device takes its steps in order, and waits for transfers."""
        clocks = dict.fromkeys(self.devices, 0.0)
        slots = []
        for step in program.steps:
            devices = self._devices(step)
            start = max(clocks[device] for device in devices)
            slots.append(Slot(step, devices, start, start + self.seconds(step)))
            clocks |= dict.fromkeys(devices, slots[-1].end)
        return Timeline(tuple(slots))

    def _devices(self, step: Run | Move) -> tuple[str, ...]:
        logical = (step.device,) if isinstance(step, Run) else (step.source, step.target)
        return tuple(dict.fromkeys(self.binding[device] for device in logical))
