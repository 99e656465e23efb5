"""A plan for GPUs on the host: its kernels run by their sources, one step after another. Slow."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from codegen.cuda import emulator
from codegen.cuda.emulator import Module, Order
from ir.command import Error
from ir.plan import Cubins, Plan, Run
from runtime.cpu.memory import Arena
from runtime.executor import Executor, Outputs, Watch
from runtime.memory import filled, read_tensor, write_packed


class EmulatedExecutor(Executor):
    """Needs the plan's sources, `kernels/KEY.cu`; `order` is that of the threads in a block."""

    def __init__(self, plan: Plan, directory: Path, order: Order = "forward") -> None:
        """Compile the sources for the host. Raises Error for one that is missing or wrong."""
        super().__init__(plan, [Arena(device.arena) for device in plan.devices], ())
        self._modules = _modules(plan, directory)
        self._scratch = Arena(plan.scratch())
        self._order: Order = order

    def close(self) -> None:
        """Nothing has to be let go of."""

    def step(self, program: str, index: int) -> None:
        step = self.plan.programs[program].steps[index]
        if isinstance(step, Run):
            self._launch(step)
        else:
            moved = self.memories[step.source].read(step.source_offset, step.bytes)
            self.memories[step.target].write(step.target_offset, moved)

    def _launch(self, step: Run) -> None:
        code, arena = self.plan.kernels[step.kernel].code, self.memories[step.device]
        assert isinstance(code, Cubins)
        assert isinstance(arena, Arena)
        # The scratch comes last, as place -1.
        pointers = [*map(arena.pointer, step.offsets), self._scratch.pointer(0)]
        for launch in code.launches:
            given = [pointers[place] for place in launch.arguments]
            run = self._modules[step.kernel][launch.symbol]
            run(launch.grid, launch.block, given, self._order, launch.dynamic)

    def _run(self, program: str, watch: Watch | None) -> Outputs:
        self._begin(program)
        for index in range(len(self.plan.programs[program].steps)):
            self.step(program, index)
        outputs = self.plan.programs[program].outputs
        values = {tensor.name: read_tensor(self.memories, tensor) for tensor in outputs}
        return lambda: values

    def _begin(self, program: str) -> None:
        self._scratch.bytes.fill(0xFF)
        for fill in self.plan.programs[program].fills:
            write_packed(self.memories, fill.tensor, filled(fill.tensor, fill.value))
        for name, copies in self._feeds[program].copies.items():
            for feed, part in zip(copies, self._fed[program][name].parts, strict=True):
                write_packed(self.memories, feed.tensor, part)


def _modules(plan: Plan, directory: Path) -> dict[str, Module]:
    sources = dict(_sources(plan, directory))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(zip(sources, pool.map(emulator.compile, sources.values()), strict=True))


def _sources(plan: Plan, directory: Path) -> Iterator[tuple[str, str]]:
    for key in plan.kernels:
        path = directory / "kernels" / f"{key}.cu"
        try:
            yield key, path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Error(f"{path}: cannot be read, expected the kernel's source") from error
