"""This machine's GPU, to be tuned for: tiles by trying, speeds by what it can do at most."""

import tempfile
from pathlib import Path

from codegen.cache import Cache, default_folder
from codegen.cost.nominal import TENSOR, VECTOR_FLOPS
from codegen.targets import Cuda
from codegen.tuning.cuda import ceiling_kernels, ceilings, timing
from codegen.tuning.cuda.search import search
from codegen.tuning.machine import Tuned
from codegen.tuning.parameters import Shape, tile_class
from codegen.tuning.records import Records
from ir.graph import Graph
from ir.plan import Speeds
from runtime.cuda.driver import Gpu


class Card:
    """A GPU, by the one architecture that `target` has."""

    def __init__(self, target: Cuda, gpu: Gpu) -> None:
        self.target, self._gpu = target, gpu

    def ceilings(self) -> Speeds:
        """Raises Error where its kernels do not run here."""
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "plan.json"
            ceiling_kernels.build(path, self.target)
            return ceilings.measured(path).speeds(self._gpu)

    def class_of(self, region: Graph) -> str | None:
        """Ops, form and all shapes."""
        return tile_class(region, self.target.winograd)

    def tuned(self, region: Graph) -> Tuned | None:
        """Kernels are kept for the builds that follow. Raises Error."""
        name = self.class_of(region)
        if name is None:
            return None
        found = search(region, self.target, timing.seconds, Cache(default_folder()))
        if found is None:
            return None
        chosen = f"{_shown(found.shape)}, the best of {found.tried}"
        return Tuned(Records(tiles={name: found.shape}), found.before, found.seconds, chosen)

    def fitted(self, speeds: Speeds) -> Speeds:
        """The ceilings: a prediction is what the card allows at best."""
        return speeds

    def rates(self, speeds: Speeds) -> str:
        """Of threads and of tensor cores, of memory and of launches."""
        done = {"f32": speeds.multiply_adds, **{form: getattr(speeds, form) for form in TENSOR}}
        rates = (f"{VECTOR_FLOPS / taken / 1e3:.1f} in {form}" for form, taken in done.items())
        launch = f"{speeds.launch / 1e3:.2f} us for a launch"
        return f"TFLOP/s {', '.join(rates)}; {speeds.far / 1e9:.0f} GB/s from memory, {launch}"


def _shown(shape: Shape) -> str:
    return " ".join([shape.tile, *(f"{name}={value}" for name, value in shape.numbers.items())])
