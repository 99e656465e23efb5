"""Kernels that do one thing only, as fast as the processor can: the ceilings of all others.

Each is kernel(threads, memory, floats of each thread, rounds), where every thread has an array of
its own in the memory.
"""

from collections.abc import Callable
from typing import Any

from tvm import ir, tirx

from codegen.cpu import machine_code
from codegen.loops import Loops
from codegen.targets import cpu

LANES, STREAMS = 16, 8
"""Floats of a vector; vectors that are on their way at a time."""

Body = Callable[..., None]
"""Writes what a thread does with its array: (loops, memory, where it begins, floats, rounds)."""


def ceiling(body: Body, *options: int) -> Callable[..., object]:
    """kernel(threads, memory, floats of each thread, rounds), its body written for a thread."""
    loops = Loops()
    threads, floats, rounds = (loops.var(name) for name in ("threads", "floats", "rounds"))
    pointer = tirx.Var("memory", ir.PointerType(ir.PrimType("float32")))
    memory = loops.buffer(pointer, (2**31 - 1,), "float32")
    with loops.parallel(threads) as thread:
        body(loops, memory, loops.let(thread * floats), floats, rounds, *options)
    function = loops.function([threads, pointer, floats, rounds], device=1, noalias=True)
    kernel: Callable[..., object] = machine_code(function, cpu())["kernel"]
    return kernel


def multiply_add(
    loops: Loops, memory: Any, begin: Any, floats: Any, rounds: Any, registers: int
) -> None:
    """As many sums as fit in registers, each waiting for itself only."""
    vector = _vector(begin)
    sums = [loops.local(LANES) for _ in range(registers)]
    for number, each in enumerate(sums):
        # Were all alike, one would do for all.
        loops.store(each, memory[vector] + _constant(number), _vector(0))
    by = loops.let(memory[vector], f"float32x{LANES}")
    with loops.serial(rounds):
        for each in sums:
            loops.store(each, each[_vector(0)] * by + by, _vector(0))
    _keep(loops, memory, vector, sums)


def _read(loops: Loops, memory: Any, begin: Any, floats: Any, rounds: Any) -> None:
    sums = [loops.local(LANES) for _ in range(STREAMS)]
    for each in sums:
        loops.store(each, memory[_vector(begin)], _vector(0))
    with loops.serial(rounds), loops.serial(floats // (LANES * STREAMS)) as i:
        for stream, each in enumerate(sums):
            place = _vector(begin + (i * STREAMS + stream) * LANES)
            loops.store(each, each[_vector(0)] + memory[place], _vector(0))
    _keep(loops, memory, _vector(begin), sums)


def _write(loops: Loops, memory: Any, begin: Any, floats: Any, rounds: Any) -> None:
    with loops.serial(rounds) as number, loops.serial(floats // (LANES * STREAMS)) as i:
        value = tirx.Broadcast(tirx.Cast("float32", number), LANES)
        for stream in range(STREAMS):
            loops.store(memory, value, _vector(begin + (i * STREAMS + stream) * LANES))


def _update(loops: Loops, memory: Any, begin: Any, floats: Any, rounds: Any) -> None:
    with loops.serial(rounds), loops.serial(floats // (LANES * STREAMS)) as i:
        for stream in range(STREAMS):
            place = _vector(begin + (i * STREAMS + stream) * LANES)
            loops.store(memory, memory[place] + memory[place], place)


def _constant(value: float) -> Any:
    return tirx.Broadcast(tirx.const(value, "float32"), LANES)


def _vector(begin: Any) -> Any:
    return tirx.Ramp(begin, 1, LANES)


def _keep(loops: Loops, memory: Any, place: Any, sums: list[Any]) -> None:
    """Store what was computed, so that it is."""
    total = sums[0][_vector(0)]
    for each in sums[1:]:
        total = total + each[_vector(0)]
    loops.store(memory, total, place)


BODIES: dict[str, Body] = {"read": _read, "write": _write, "update": _update}
"""What moves bytes, by its name."""
