"""How long kernels take on this machine's GPU, within a graph as in a step."""

import time
from pathlib import Path

from codegen.tuning.cuda.noise import fill
from codegen.tuning.cuda.single import single
from ir.plan import Plan
from runtime.devices import open_executor
from runtime.executor import Executor

TIMES, RUNS, ROUNDS = 30, 2, 5
"""Calls in a graph, so many that starting it takes next to none of their time; graphs timed at a
time; turns of each kernel, of which the best counts: others may have had the GPU, or its clock was
still low."""


def seconds(plan: Plan, directory: Path) -> dict[str, float]:
    """Of one call of each kernel of a plan, whose files lie in `directory`; they take turns.

    Raises Error where they cannot be run here.
    """
    spent: dict[str, list[float]] = {name: [] for name in plan.kernels}
    with open_executor(single(plan, TIMES), directory) as executor:
        for _ in range(ROUNDS):
            for name, kernel in plan.kernels.items():
                fill(executor, kernel)
                spent[name].append(timed(executor, name, RUNS) / TIMES)
    return {name: min(turns) for name, turns in spent.items()}


def timed(executor: Executor, program: str, runs: int) -> float:
    """Seconds of one run, of several that follow each other."""
    executor.run(program)()
    executor.run(program)()
    begin = time.perf_counter()
    for _ in range(runs):
        last = executor.run(program)
    last()
    return (time.perf_counter() - begin) / runs
