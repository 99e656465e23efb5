"""Check a plan against the oracle, kernel by kernel: `python -m codegen.validate plan.json`.

Every step of every program runs once on random values. What it wrote is compared with NumPy in
float64, given the very operands that the kernel read, so errors do not add up. Slow for big
models: build one with a smaller batch. Exits with 5 at the first step that diverges. A plan for
GPUs can be checked without one: `--emulate` runs its CUDA C on the host, slower still.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codegen import tolerance
from codegen.cuda.emulated import EmulatedExecutor
from codegen.layout import layout_of
from codegen.region import operands
from codegen.replay import Replay
from codegen.steps import Call, Transfer, steps
from ir.command import Error, Exit, run
from ir.eval import random_feeds
from ir.graph import Graph
from ir.leaf import copied, logical_name
from ir.op import Array
from ir.plan import Move, Plan, Run, folder, read
from ir.text import read as read_graph
from runtime.binding import kind
from runtime.devices import open_executor
from runtime.executor import Executor


class Divergence(Error):
    """A kernel's result is not what its region means."""

    exit = Exit.NUMERICS


@dataclass(frozen=True)
class Check:
    """One value written by one step. `error` and `bound` are relative to the largest element.

    Of values rounded to bf16 the error is what single roundings do not explain (`tolerance`).
    """

    kind: str
    error: float
    bound: float


def validate(executor: Executor, name: str, graph: Graph, *, seed: int) -> Iterator[Check]:
    """Run a program step by step. Raises Divergence naming the first step that is wrong."""
    program, replay = executor.plan.programs[name], Replay(executor, name, graph)
    winograd = executor.plan.target.get("winograd", "none")
    replay.begin(_values(graph, seed))
    for meant, step in zip(steps(graph, replay.layout), program.steps, strict=True):
        where = f"{name} step {step.index}"
        if isinstance(meant, Call) and isinstance(step, Run):
            yield from _checked(replay, meant, step, where, winograd)
        elif isinstance(meant, Transfer) and isinstance(step, Move):
            source = replay.value(meant.node.inputs[0])
            replay.step(step.index)
            if (replay.value(meant.node) != source).any():
                raise Divergence(f"{where} moves another value to '{meant.node.name}'")


def _checked(replay: Replay, call: Call, step: Run, where: str, winograd: str) -> Iterator[Check]:
    region = call.region
    leaves = operands(region.graph)
    read, results = region.arguments[: len(leaves)], region.arguments[len(leaves) :]
    feeds = {leaf.name: replay.value(x) for leaf, x in zip(leaves, read, strict=True)}
    meant = tolerance.meant(region.graph, feeds, np.float64)
    replay.step(step.index)
    updated = [node for node in call.writes if node not in results]
    roundings = tolerance.roundings(region.graph)
    for node, (name, expected) in zip([*results, *updated], meant.items(), strict=True):
        error = tolerance.error(replay.value(node), expected, roundings[name])
        bound = tolerance.bound(region.graph, expected, roundings[name], winograd)
        if error > bound:
            # Where numbers cancel, float32 cannot do better: NumPy's own error tells.
            single = tolerance.meant(region.graph, feeds, np.float32)[name]
            bound = max(bound, 8 * tolerance.error(single, expected, roundings[name]))
        what = f"{where} ({step.kernel}) writes '{node.name}'"
        if not error <= bound:
            raise Divergence(
                f"{what} with a relative error of {error:.2e}, expected <= {bound:.1e}"
            )
        if node in updated and not replay.padding_is_zero(node):
            raise Divergence(f"{what} with padding that is not zero, expected zeros")
        yield Check(step.kernel.rpartition("-")[0], error, bound)


def _values(graph: Graph, seed: int) -> dict[str, Array]:
    """Random feeds; no state is zero everywhere, so that every term of an update counts."""
    random = np.random.default_rng(seed)
    values = random_feeds(graph, seed)
    kept = (leaf for leaf in graph.leaves("param", "state") if not copied(leaf))
    for name in dict.fromkeys(map(logical_name, kept)):
        values[name] = values[name] + random.normal(0, 0.05, values[name].shape)
    return values


# ---------------------------------------------------------------------------- command


def main() -> None:
    """Run every step of a plan and compare it with the oracle."""
    options = _options()
    path = Path(options.plan)
    plan = read(path)
    names = [options.program] if options.program else list(plan.programs)
    with _executor(plan, path, options) as executor:
        for name in names:
            for line in _table(
                validate(executor, name, _graph(plan, path, name), seed=options.seed)
            ):
                print(f"{name:10} {line}")


def _executor(plan: Plan, path: Path, options: argparse.Namespace) -> Executor:
    if not options.emulate:
        if options.arch:
            raise Error("--arch: says what to emulate, expected --emulate beside it")
        return open_executor(plan, folder(path), threads=options.threads)
    if kind(plan) != "cuda":
        raise Error(f"{path}: --emulate is for plans for GPUs, this one is for {kind(plan)}")
    return EmulatedExecutor(plan, folder(path), arch=options.arch)


def _graph(plan: Plan, path: Path, name: str) -> Graph:
    """What a program means."""
    if name not in plan.programs:
        raise Error(f"{path}: no program '{name}', expected one of {', '.join(plan.programs)}")
    file = folder(path) / f"{name}.ir"
    graph = read_graph(str(file))
    _require_same(plan, name, graph, str(file))
    return graph


def _require_same(plan: Plan, name: str, graph: Graph, file: str) -> None:
    """Raise Error unless a program's steps write what its text says."""
    meant = [
        (step.node.name,) if isinstance(step, Transfer) else tuple(n.name for n in step.writes)
        for step in steps(graph, layout_of(kind(plan)))
    ]
    ran = plan.programs[name].steps
    found = [step.writes if isinstance(step, Run) else (step.value,) for step in ran]
    if meant != found:
        raise Error(f"{file}: is not the program of this plan, expected its {len(found)} steps")


def _table(checks: Iterator[Check]) -> Iterator[str]:
    """The worst of every kind."""
    worst: dict[str, Check] = {}
    for check in checks:
        if check.kind not in worst or check.error > worst[check.kind].error:
            worst[check.kind] = check
    for ops, check in sorted(worst.items()):
        yield f"{ops:44} error {check.error:8.2e}  bound {check.bound:8.2e}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m codegen.validate", description=main.__doc__)
    parser.add_argument("plan", metavar="PLAN", help="a plan.json")
    parser.add_argument("--program", metavar="NAME", help="only this one of its programs")
    parser.add_argument("--seed", type=_count, default=0, help="of the random values (default 0)")
    parser.add_argument("--threads", type=_count, metavar="N", help="of CPUs (default: all cores)")
    parser.add_argument("--emulate", action="store_true", help="run a GPU's kernels on the host")
    help = "whose kernels to emulate (default: the last one that the plan was built for)"
    parser.add_argument("--arch", metavar="ARCH", default="", help=help)
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no count, expected an integer >= 0")
    return int(text)


if __name__ == "__main__":
    run(main)
