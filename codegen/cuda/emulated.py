"""A plan for GPUs on the host: its kernels run by their sources, one step after another. Slow."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from codegen.cuda import emulator
from codegen.cuda.emulator import Module, Order
from ir.command import Error
from ir.plan import ITEM_BYTES, Cubin, Cubins, Plan, Run, TensorMap
from runtime.cpu.memory import Arena
from runtime.executor import Executor, Outputs, Watch
from runtime.memory import filled, read_tensor, write_packed


class EmulatedExecutor(Executor):
    """Needs the plan's sources, `kernels/KEY.ARCH.cu`; `order` is that of a block's threads."""

    def __init__(
        self, plan: Plan, directory: Path, order: Order = "forward", arch: str = ""
    ) -> None:
        """Compile the sources for an architecture, the plan's last one unless told otherwise.

        Raises Error for one that the plan was not built for, for sources missing or wrong.
        """
        super().__init__(plan, [Arena(device.arena) for device in plan.devices], ())
        self._cubins = dict(_cubins(plan, arch))
        self._modules = _modules(self._cubins, directory)
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
        arena = self.memories[step.device]
        assert isinstance(arena, Arena)
        # The scratch comes last, as place -1.
        pointers = [*map(arena.pointer, step.offsets), self._scratch.pointer(0)]
        items = [ITEM_BYTES[each.dtype] for each in self.plan.kernels[step.kernel].arguments]
        for launch in self._cubins[step.kernel].launches:
            taken = [given(argument, pointers, items) for argument in launch.arguments]
            run = self._modules[step.kernel][launch.symbol]
            run(launch.grid, launch.block, taken, self._order, launch.dynamic)

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


def given(argument: int | TensorMap, pointers: Sequence[Any], items: Sequence[int]) -> Any:
    """What a launch gets for an argument, from the addresses and elements' bytes of all."""
    if isinstance(argument, int):
        return pointers[argument]
    place = argument.argument
    return emulator.tensor_map(argument, items[place], pointers[place])


def _cubins(plan: Plan, arch: str) -> Iterator[tuple[str, Cubin]]:
    for key, kernel in plan.kernels.items():
        assert isinstance(kernel.code, Cubins)
        binaries = kernel.code.binaries
        if arch and arch not in binaries:
            raise Error(f"the plan was built for {', '.join(binaries)}, got {arch}")
        yield key, binaries[arch or list(binaries)[-1]]


def _modules(cubins: Mapping[str, Cubin], directory: Path) -> dict[str, Module]:
    sources = {key: _source(directory / source(cubin)) for key, cubin in cubins.items()}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(zip(sources, pool.map(emulator.compile, sources.values()), strict=True))


def source(cubin: Cubin) -> str:
    """Where the source of a binary lies in the plan's folder."""
    return f"kernels/{Path(cubin.file).with_suffix('.cu').name}"


def _source(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Error(f"{path}: cannot be read, expected the kernel's source") from error
