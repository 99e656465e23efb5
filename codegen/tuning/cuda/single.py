"""Kernels alone: plans that have nothing else, and programs that run one kernel each."""

from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from msgspec.structs import replace

from codegen.cost.speeds import GUESSES
from codegen.keys import versions
from ir.plan import ALIGNMENT, VERSION, Device, Kernel, Plan, Program, Run

if TYPE_CHECKING:
    # It imports the compiler, which is not needed to run kernels.
    from codegen.targets import Target

GUARD = 64
"""Bytes behind each argument, which no kernel may touch."""


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
