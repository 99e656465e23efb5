"""How fast every kernel of a plan is on a GPU, one by one, within a graph as in a step."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codegen.tuning.cuda.ceilings import Ceilings
from codegen.tuning.cuda.noise import fill
from codegen.tuning.cuda.single import single
from codegen.tuning.cuda.timing import RUNS, TIMES, timed
from ir.graph import Graph
from ir.ops.precision import form_of
from ir.plan import Plan, Run, folder, read
from ir.plan.prediction import kernel_seconds
from runtime.devices import open_executor
from runtime.executor import Executor
from tests.gpu.single import region_of

SHOWN = 30


@dataclass(frozen=True)
class Row:
    """A kernel: how often a step calls it, the form of its operands, and operations, bytes and
    predicted seconds of one call."""

    kernel: str
    calls: int
    form: str
    flops: int
    bytes: int
    predicted: float

    def least(self, ceilings: Ceilings) -> float:
        """Seconds that the card's ceilings allow."""
        return ceilings.least(self.form, self.flops, self.bytes)


@dataclass(frozen=True)
class Measured(Row):
    """The same with the seconds that one call took."""

    seconds: float

    def facts(self, ceilings: Ceilings) -> dict[str, object]:
        """For JSON."""
        return {
            "kernel": self.kernel,
            "calls": self.calls,
            "form": self.form,
            "seconds": self.seconds,
            "predicted": self.predicted,
            "flops": self.flops,
            "bytes": self.bytes,
            "of ceiling": self.least(ceilings) / self.seconds,
        }


def rows(path: Path) -> list[Row]:
    """The kernels of a training step, as its plan knows them."""
    plan = read(path)
    calls = Counter(s.kernel for s in plan.programs["train"].steps if isinstance(s, Run))
    return [_row(plan, path, name, count) for name, count in calls.items()]


def _row(plan: Plan, path: Path, name: str, calls: int) -> Row:
    kernel, region = plan.kernels[name], region_of(path, name)
    predicted = kernel_seconds(kernel, plan.predicted, threads=1)
    return Row(name, calls, form(region), kernel.flops, kernel.moved, predicted)


def form(region: Graph) -> str:
    """How a kernel's contraction reads its operands; f32 where it has none."""
    return next((form_of(node) for node in region.nodes if "math" in node.attrs), "f32")


def least(path: Path, ceilings: Ceilings) -> float:
    """Seconds that the ceilings allow for all kernels of a training step."""
    return sum(row.calls * row.least(ceilings) for row in rows(path))


def measured(path: Path) -> list[Measured]:
    """The kernels of a training step, those that take most of it first."""
    with open_executor(single(read(path), TIMES), folder(path)) as executor:
        found = [_measured(executor, row) for row in rows(path)]
    return sorted(found, key=lambda row: -row.calls * row.seconds)


def _measured(executor: Executor, row: Row) -> Measured:
    fill(executor, executor.plan.kernels[row.kernel])
    return Measured(**vars(row), seconds=timed(executor, row.kernel, RUNS) / TIMES)


def table(rows: Sequence[Measured], ceilings: Ceilings) -> Iterator[str]:
    """Lines for people; the last one is of all kernels together."""
    total = sum(row.calls * row.seconds for row in rows)
    least = sum(row.calls * row.least(ceilings) for row in rows)
    yield (
        f"{'kernel':44} {'form':4} calls {'us':>8} {'predicted':>9}  share "
        f"{'GFLOP/s':>8} {'GB/s':>6} of max"
    )
    for row in rows[:SHOWN]:
        rates = f"{row.flops / row.seconds / 1e9:8.0f} {row.bytes / row.seconds / 1e9:6.0f}"
        share, of_ceiling = row.calls * row.seconds / total, row.least(ceilings) / row.seconds
        times = f"{1e6 * row.seconds:8.1f} {1e6 * row.predicted:9.1f} {share:6.1%}"
        yield f"{row.kernel[:44]:44} {row.form:4} {row.calls:5} {times} {rates} {of_ceiling:6.0%}"
    yield f"{len(rows)} kernels, {1e3 * total:.3f} ms a step, {least / total:.0%} of the ceilings"
