"""What kernels are compiled for: TVM's target and the limits that tile sizes follow from."""

from dataclasses import dataclass
from typing import Any

import tvm
from tvm.target import codegen as llvm

from ir.command import Error


@dataclass(frozen=True)
class Target:
    """A kind of device and one machine's instruction set. Raises Error for an unknown processor.

    `accumulators` is how many vectors of 16 floats stay in registers beside their operands.
    `exact` leaves out kernels that trade accuracy for speed.
    """

    kind: str
    mtriple: str
    mcpu: str
    accumulators: int
    exact: bool = False

    def tvm(self) -> Any:
        """The target as TVM spells it."""
        return tvm.target.Target({"kind": "llvm", "mtriple": self.mtriple, "mcpu": self.mcpu})


def cpu(mcpu: str = "", mtriple: str = "", *, exact: bool = False) -> Target:
    """The host's own processor, or another one of an LLVM name."""
    mtriple = mtriple or llvm.llvm_get_system_triple()
    mcpu = mcpu or llvm.llvm_get_system_cpu()
    if not llvm.llvm_is_valid_cpu(mcpu, mtriple):
        raise Error(f"unknown processor '{mcpu}' for {mtriple}; expected one that LLVM knows")
    bare = tvm.target.Target({"kind": "llvm", "mtriple": mtriple, "mcpu": mcpu})
    return Target("cpu", str(mtriple), str(mcpu), _accumulators(bare, mtriple), exact)


def _accumulators(target: Any, mtriple: str) -> int:
    """Vectors of 16 floats that fit, leaving room for an operand or two.

    AVX-512 has 32 registers of 16 floats; AVX2 16 of 8; NEON 32 of 4; SSE2 16 of 4.
    """
    if mtriple.startswith("aarch64"):
        return 6
    if llvm.target_has_features("avx512f", target):
        return 24
    return 6 if llvm.target_has_features("avx2", target) else 3
