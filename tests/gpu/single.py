"""The kernels of a plan, each in a program of its own: to be tested and timed one by one."""

import time
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from codegen.cost.speeds import GUESSES
from codegen.keys import versions
from codegen.layout import layout_of
from ir.graph import Graph, Node
from ir.op import Array
from ir.plan import ALIGNMENT, VERSION, Device, Kernel, Plan, Program, Run, folder
from ir.text import read as read_graph
from runtime.binding import kind
from runtime.executor import Executor
from runtime.memory import as_bytes
from tests.operands import GUARD, memory, results

if TYPE_CHECKING:
    # It imports the compiler, which is not needed to run kernels.
    from codegen.targets import Target


def only(name: str, target: "Target", kernels: Mapping[str, Kernel]) -> Plan:
    """A plan of kernels alone, with a program that does nothing."""
    return Plan(
        version=VERSION,
        predicted=GUESSES["cuda"],
        name=name,
        target=target.facts(),
        versions=versions(),
        binding=(f"{target.kind}:0",),
        accumulate=1,
        precision="fp32",
        library={},
        devices=(Device(arena=0, lower_bound=0),),
        kernels=dict(kernels),
        states=(),
        programs={"nothing": Program(batch=1, feeds=(), fills=(), steps=(), outputs=())},
    )


def single(plan: Plan, times: int = 1) -> Plan:
    """A plan with a program for each kernel, by its name, that runs it so many times."""
    programs = {name: _program(name, kernel, times) for name, kernel in plan.kernels.items()}
    arena = max((places(kernel)[-1] for kernel in plan.kernels.values()), default=0)
    return replace(
        plan,
        binding=plan.binding[:1],
        devices=(Device(arena=arena, lower_bound=0),),
        states=(),
        programs=programs,
    )


def region_of(path: Path, kernel: str) -> Graph:
    """What a kernel of a plan means."""
    return read_graph(str(folder(path) / "kernels" / f"{kernel}.ir"))


def arguments(plan: Plan, region: Graph, feeds: dict[str, Array]) -> dict[Node, Array]:
    """The memory of a kernel's arguments, in order, as `tests.operands.memory` makes it."""
    layout = layout_of(kind(plan))
    nodes = (*region.leaves("input", "state"), *region.outputs)
    return {node: memory(node, feeds, layout) for node in nodes}


def run(
    executor: Executor, kernel: str, region: Graph, given: dict[Node, Array]
) -> dict[str, Array]:
    """The results of one kernel by logical name; guards and the padding of states are checked.

    `executor` has the plan that `single` made; `given` is what `arguments` made.
    """
    arena, at = executor.memories[0], places(executor.plan.kernels[kernel])
    for place, data in zip(at, given.values(), strict=False):
        arena.write(place, as_bytes(data))
    executor.begin(kernel)
    executor.step(kernel, 0)
    found = {
        node: np.array(arena.read(place, data.nbytes))
        for place, (node, data) in zip(at, given.items(), strict=False)
    }
    return results(region, found, layout_of(kind(executor.plan)))


def timed(executor: Executor, program: str, runs: int) -> float:
    """Seconds of one run, of several that follow each other."""
    executor.run(program)()
    executor.run(program)()
    begin = time.perf_counter()
    for _ in range(runs):
        last = executor.run(program)
    last()
    return (time.perf_counter() - begin) / runs


def places(kernel: Kernel) -> tuple[int, ...]:
    """Where the arguments begin, each with a guard behind it, and where the last guard ends."""
    sizes = (-(-(a.bytes + GUARD) // ALIGNMENT) * ALIGNMENT for a in kernel.arguments)
    return tuple(accumulate(sizes, initial=0))


def _program(name: str, kernel: Kernel, times: int) -> Program:
    steps = (
        Run(index=i, device=0, kernel=name, offsets=places(kernel)[:-1], writes=())
        for i in range(times)
    )
    return Program(batch=1, feeds=(), fills=(), steps=tuple(steps), outputs=())
