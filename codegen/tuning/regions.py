"""The regions whose kernels are to be tuned: those of a plan, or of a network as IR text."""

from collections.abc import Iterator
from pathlib import Path

from codegen.programs import lower, require_precision
from codegen.steps import Call, steps
from codegen.targets import Target
from ir import plan as plans
from ir.graph import Graph
from ir.text import read
from passes.context import Context, Precision, to_stderr
from passes.dump import quiet


def is_network(file: str) -> bool:
    """Whether a command was given IR text, not a plan."""
    return file == "-" or Path(file).suffix == ".ir"


def plan_at(file: str) -> Path:
    """Where the plan is, given its file or its folder."""
    path = Path(file)
    return path / "plan.json" if path.is_dir() else path


def lowered(file: str, target: Target, devices: int, precision: Precision) -> Iterator[Graph]:
    """Of a network's programs, split for so many devices. Raises Error."""
    network, context = read(file), Context(devices, precision, say=to_stderr)
    require_precision(network, target, precision)
    programs = lower(network, context, target.layout, lambda name: quiet).programs
    for graph in programs.values():
        calls = (step for step in steps(graph, target.layout) if isinstance(step, Call))
        yield from (call.region.graph for call in calls)


def planned(path: Path) -> Iterator[Graph]:
    """Of a plan's kernels, by the texts beside it. Raises Error."""
    for name in plans.read(path).kernels:
        yield read(str(plans.folder(path) / "kernels" / f"{name}.ir"))


def first_op(region: Graph) -> str:
    """What a region begins with."""
    return next(node.op for node in region.nodes if node.inputs)
