"""CUDA C as C++ for the host, by its text; what precedes the first kernel is left out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codegen.cuda import products
from codegen.cuda.emulator_launch import WARP, Extent
from ir.command import Error

MOST_THREADS = 1024
_HEADER = Path(__file__).with_name("emulator.h")
_KERNEL = re.compile(
    r'extern "C" __global__ void\s+(?:__launch_bounds__\((?P<most>\d+)(?:, 1)?\)\s*)?'
    r"(?P<name>\w+)\((?P<params>[^)]*)\)(?P<end>\s*[{;])"
)
_DYNAMIC = re.compile(r"extern __shared__ __align__\(\d+\) (?P<type>\w+) (?P<name>\w+)\[\];")
_BYTES = {"tf32": "4", "bf16": "2"}
_OF_WARPS = re.compile(
    r"\b(?:wait_warp|is_elected|wait_barrier|multiply_\w+|load_matri(?:ces|x_pairs)\w*)\("
)


@dataclass(frozen=True)
class Signature:
    """How many pointers a kernel takes, and how many threads a block may have.

    `warps`: lanes do things together; `groups`: four warps do; `dynamic`: it has an array without
    an extent.
    """

    pointers: int
    most: int
    warps: bool
    groups: bool
    barriers: bool
    dynamic: bool

    def require(self, symbol: str, grid: Extent, block: Extent, pointers: int, shared: int) -> None:
        """Raise Error for a launch that does not suit the kernel."""
        for complaint in self._complaints(grid, block, pointers, shared):
            raise Error(f"kernel '{symbol}': {complaint}")

    def _complaints(self, grid: Extent, block: Extent, pointers: int, shared: int) -> Iterator[str]:
        threads = block[0] * block[1] * block[2]
        if pointers != self.pointers:
            yield f"{pointers} pointers, expected {self.pointers}"
        if min(*grid, *block) < 1:
            yield f"grid {grid} of blocks {block}, expected extents >= 1"
        if threads > self.most:
            yield f"blocks of {threads} threads, expected <= {self.most}"
        if (self.warps or self.groups) and threads % WARP:
            yield f"blocks of {threads} threads, expected full warps of {WARP}"
        if self.dynamic and shared < 1:
            yield f"{shared} bytes for the shared array without an extent, expected >= 1"


def translated(source: str) -> tuple[str, dict[str, Signature]]:
    """C++ of the source: kernels become functions of a thread, a launch is exported for each.

    Raises Error where there is no kernel.
    """
    found = list(_KERNEL.finditer(source))
    kernels = [match for match in found if match["end"].endswith("{")]
    if not kernels:
        raise Error('no kernel in the source, expected extern "C" __global__ void NAME(...)')
    first = found[0].start()
    ends = [match.start() for match in kernels[1:]] + [len(source)]
    signatures = {
        kernel["name"]: _signature(kernel, source[kernel.end() : end])
        for kernel, end in zip(kernels, ends, strict=True)
    }
    text = products.CALL.sub(_group_product, source[first:])
    text = products.HOLD.sub("::hold_sums(", text)
    text = _DYNAMIC.sub(r"\g<type>* const \g<name> = (\g<type>*)::dynamic;", text)
    lines = [
        f'#include "{_HEADER}"',
        f'#line {source.count(chr(10), 0, first) + 1} "kernels.cu"',
        _KERNEL.sub(_function, text),
        *(_entry(name, signature) for name, signature in signatures.items()),
    ]
    return "\n".join(lines) + "\n", signatures


def _function(kernel: re.Match[str]) -> str:
    places = "const uint3 threadIdx, const uint3 blockIdx"
    return f"static inline void {kernel['name']}({places}, {kernel['params']}){kernel['end']}"


def _group_product(call: re.Match[str]) -> str:
    parameters = _BYTES[call["form"]], call["columns"], call["a"], call["b"]
    return f"::multiply_group<{', '.join(parameters)}>(__LINE__, "


def _entry(name: str, kernel: Signature) -> str:
    ways = {"with_groups": kernel.groups, "with_warps": kernel.warps}
    ways |= {"with_barriers": kernel.barriers, "without_barriers": True}
    run = next(way for way, is_it in ways.items() if is_it)
    pointers = (f"p[{place}]" for place in range(kernel.pointers))
    return f"KERNEL({name}, {run}, {', '.join(pointers)})"


def _signature(kernel: re.Match[str], body: str) -> Signature:
    return Signature(
        pointers=kernel["params"].count(",") + 1,
        most=int(kernel["most"] or MOST_THREADS),
        warps=_OF_WARPS.search(body) is not None,
        groups=products.CALL.search(body) is not None,
        barriers="__syncthreads()" in body,
        dynamic=_DYNAMIC.search(body) is not None,
    )
