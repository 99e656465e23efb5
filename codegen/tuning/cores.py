"""This machine's cores, to be tuned for: sizes by trying, speeds by a fit to all kernels timed."""

from statistics import median

from codegen.targets import Cpu
from codegen.tuning import timing
from codegen.tuning.ceilings import ceilings
from codegen.tuning.fit import KINDS, Sample, fitted
from codegen.tuning.machine import Tuned
from codegen.tuning.parameters import Tuning, shape_class
from codegen.tuning.records import Records
from codegen.tuning.search import Found, Search
from ir.graph import Graph
from ir.plan import Speeds


class Cores:
    """So many of them, which all kernels get; each kernel is called `repeat` times."""

    def __init__(self, target: Cpu, threads: int, repeat: int) -> None:
        timing.pool(threads)
        self.target = target
        self._threads, self._repeat = threads, repeat
        self._found: list[Found] = []

    def ceilings(self) -> Speeds:
        """Of one core while all work."""
        return ceilings(self.target, self._threads)

    def class_of(self, region: Graph) -> str | None:
        """All but the number of images."""
        return shape_class(region, self.target.winograd)

    def tuned(self, region: Graph) -> Tuned:
        """A kernel without sizes to choose is timed, too, for the speeds. Raises Error."""
        found = Search(region, self.target, self._repeat, self._threads).run()
        self._found.append(found)
        name = self.class_of(region)
        tunings = {name: found.tuning} if name else {}
        chosen = _chosen(self.target.tuning, found.tuning) if name else "nothing to choose"
        return Tuned(Records(tunings=tunings), found.before, found.seconds, chosen)

    def fitted(self, speeds: Speeds) -> Speeds:
        """Ceilings alone where too little was measured."""
        samples = [Sample(e.work, e.moved, e.seconds * self._threads) for e in self._found]
        speeds = fitted(samples, speeds)
        errors = [sample.error(speeds) for sample in samples]
        if errors:
            print(f"{'fitted to':12} {len(errors)} kernels, median error {median(errors):.1%}")
        return speeds

    def rates(self, speeds: Speeds) -> str:
        """Nanoseconds by kind of instruction, and bytes per second."""
        costs = ", ".join(f"{getattr(speeds, kind):g} {kind.replace('_', '-')}" for kind in KINDS)
        near, far = speeds.near / 1e9, speeds.far / 1e9
        return f"ns for {costs}; {near:.0f} GB/s from caches, {far:.0f} from memory"


def _chosen(before: Tuning, after: Tuning) -> str:
    """The fields that differ."""
    fields = [field for field in vars(after) if getattr(before, field) != getattr(after, field)]
    return ", ".join(f"{field}={getattr(after, field)}" for field in fields) or "as by formula"
