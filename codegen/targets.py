"""What kernels are compiled for: TVM's target, and the limits that schedules follow from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import tvm
from tvm.target import codegen as llvm

from codegen.cuda import toolchain
from codegen.layout import LANES, Blocked
from codegen.tuning.parameters import (
    KB,
    Caches,
    Shape,
    Tuning,
    by_formula,
    shape_class,
    tile_class,
)
from ir.command import Error
from ir.graph import Graph
from passes.context import PRECISIONS, Precision

if TYPE_CHECKING:
    from codegen.tuning.records import Records

VECTORS = ("avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl")
"""Instructions of x86 whose names LLVM and Linux have in common."""
WINOGRAD = "fast"
"""What is done unless asked otherwise."""


@dataclass(frozen=True)
class Target:
    """A kind of device and its machine code.

    `lanes` is how many elements of axis 0 lie innermost (`codegen/layout.py`), `precisions` are
    those that its contractions can have. `winograd` says how far convolutions may trade accuracy
    for speed: none, mild or fast.
    """

    kind: ClassVar[str]
    lanes: ClassVar[int]
    precisions: ClassVar[tuple[Precision, ...]]
    winograd: str

    @property
    def layout(self) -> Blocked:
        """How its values lie in memory."""
        return Blocked(self.lanes)

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines that it is for, as records of what was measured on them name them."""
        raise NotImplementedError

    def knowing(self, records: "Mapping[str, Records]") -> Self:
        """The same with sizes that were measured on its machines, by their names."""
        raise NotImplementedError

    def is_measured(self, region: Graph) -> bool:
        """Whether the sizes for a region's kernel were measured."""
        raise NotImplementedError

    def tuned(self, region: Graph) -> Self:
        """The same with sizes chosen for the kernel of a region."""
        raise NotImplementedError

    def tvm(self) -> Any:
        """The target as TVM spells it."""
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """What a plan says of it."""
        raise NotImplementedError


# -------------------------------------------------------------------------------- CPUs


@dataclass(frozen=True)
class Cpu(Target):
    """A processor by LLVM's names.

    `accumulators` is how many vectors of 16 floats stay in registers beside their operands.
    `tuning` are sizes that suit its caches, `measured` better ones for some classes of shapes.
    """

    kind = "cpu"
    lanes = LANES["cpu"]
    precisions = ("fp32",)
    mtriple: str
    mcpu: str
    accumulators: int
    tuning: Tuning
    measured: tuple[tuple[str, Tuning], ...] = ()

    @property
    def machines(self) -> tuple[str, ...]:
        """Such as icelake-server-48-1280-49152: caches in KB."""
        caches = caches_of(self.mcpu)
        sizes = (caches.first, caches.second, caches.shared)
        return ("-".join([self.mcpu, *(str(size // KB) for size in sizes)]),)

    def knowing(self, records: "Mapping[str, Records]") -> "Cpu":
        (known,) = records.values()
        return replace(self, measured=tuple(sorted(known.tunings.items())))

    def is_measured(self, region: Graph) -> bool:
        return shape_class(region, self.winograd) in dict(self.measured)

    def tuned(self, region: Graph) -> "Cpu":
        found = dict(self.measured).get(shape_class(region, self.winograd) or "", self.tuning)
        return replace(self, tuning=found, measured=())

    def tvm(self) -> Any:
        return tvm.target.Target({"kind": "llvm", "mtriple": self.mtriple, "mcpu": self.mcpu})

    def facts(self) -> dict[str, str]:
        target = self.tvm()
        vectors = " ".join(name for name in VECTORS if llvm.target_has_features(name, target))
        facts = {"kind": self.kind, "mtriple": self.mtriple, "mcpu": self.mcpu}
        return facts | {"vectors": vectors, "winograd": self.winograd}


def cpu(mcpu: str = "", mtriple: str = "", *, winograd: str = WINOGRAD) -> Cpu:
    """The host's own processor, or another one of an LLVM name. Raises Error for an unknown one."""
    mtriple = mtriple or llvm.llvm_get_system_triple()
    mcpu = mcpu or llvm.llvm_get_system_cpu()
    if not llvm.llvm_is_valid_cpu(mcpu, mtriple):
        raise Error(f"unknown processor '{mcpu}' for {mtriple}; expected one that LLVM knows")
    bare = tvm.target.Target({"kind": "llvm", "mtriple": mtriple, "mcpu": mcpu})
    sizes = by_formula(caches_of(str(mcpu)))
    return Cpu(winograd, str(mtriple), str(mcpu), _accumulators(bare, mtriple), sizes)


def caches_of(mcpu: str) -> Caches:
    """Of this machine's processor; of others, what is common."""
    return Caches.here() if mcpu == llvm.llvm_get_system_cpu() else Caches()


def _accumulators(target: Any, mtriple: str) -> int:
    """Vectors of 16 floats that fit, leaving room for an operand or two.

    AVX-512 has 32 registers of 16 floats; AVX2 16 of 8; NEON 32 of 4; SSE2 16 of 4.
    """
    if mtriple.startswith("aarch64"):
        return 6
    if llvm.target_has_features("avx512f", target):
        return 24
    return 6 if llvm.target_has_features("avx2", target) else 3


# -------------------------------------------------------------------------------- GPUs


@dataclass(frozen=True)
class Cuda(Target):
    """NVIDIA GPUs of some architectures, such as sm_80 and sm_90a; a binary is made for each.

    `compiler` names the program, with its version, that makes them from CUDA C. `measured` are
    tiles by architecture and class of regions, `shapes` those of one region's kernel, by
    architecture; where there is none, costs that are estimates decide.
    """

    kind = "cuda"
    lanes = LANES["cuda"]
    precisions = PRECISIONS
    arches: tuple[str, ...]
    compiler: str
    measured: tuple[tuple[str, str, Shape], ...] = ()
    shapes: tuple[tuple[str, Shape], ...] = ()

    @property
    def machines(self) -> tuple[str, ...]:
        return self.arches

    def knowing(self, records: "Mapping[str, Records]") -> "Cuda":
        known = ((arch, *item) for arch, r in records.items() for item in sorted(r.tiles.items()))
        return replace(self, measured=tuple(known))

    def is_measured(self, region: Graph) -> bool:
        return bool(self.tuned(region).shapes)

    def tuned(self, region: Graph) -> "Cuda":
        name = tile_class(region, self.winograd)
        found = tuple((arch, shape) for arch, each, shape in self.measured if each == name)
        return replace(self, measured=(), shapes=found or self.shapes)

    def shaped(self, shape: Shape) -> "Cuda":
        """The same with a tile for the kernel of one region, on all architectures."""
        return replace(self, measured=(), shapes=tuple((arch, shape) for arch in self.arches))

    def only(self, arch: str) -> "Cuda":
        """One of the architectures: each has code of its own."""
        measured = tuple(each for each in self.measured if each[0] == arch)
        shapes = tuple(each for each in self.shapes if each[0] == arch)
        return replace(self, arches=(arch,), measured=measured, shapes=shapes)

    @property
    def shape(self) -> Shape | None:
        """The tile of one region's kernel, on the one architecture that is left."""
        (first, *others) = self.arches
        return None if others else dict(self.shapes).get(first)

    @property
    def groups(self) -> bool:
        """Whether four warps can multiply together: `wgmma`, which only sm_90a has."""
        return all(arch == "sm_90a" for arch in self.arches)

    def tvm(self) -> Any:
        return tvm.target.Target({"kind": "cuda", "arch": self.arches[0], "host": {"kind": "llvm"}})

    def facts(self) -> dict[str, str]:
        facts = {"kind": self.kind, "arch": ",".join(self.arches), "compiler": self.compiler}
        return facts | {"winograd": self.winograd}


def cuda(arches: tuple[str, ...], *, winograd: str = WINOGRAD) -> Cuda:
    """GPUs of these architectures. Raises Error for one that the compiler here does not know."""
    compiler = toolchain.find()
    for arch in arches:
        if arch not in compiler.arches:
            known = ", ".join(compiler.arches)
            raise Error(f"unknown architecture '{arch}'; expected of {compiler.name}'s: {known}")
    return Cuda(winograd, arches, compiler.name)
