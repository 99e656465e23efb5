"""What a GPU can do at most, to be measured: fused multiply-adds, and copying in its memory.

Both kernels are CUDA C, compiled ahead into a plan like all others.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codegen.cuda import toolchain
from codegen.folder import publish
from ir.plan import Argument, Binary, Cubins, Kernel, Launch, Work, folder, read
from runtime.devices import open_executor
from tests.gpu.single import only, single, timed

if TYPE_CHECKING:
    # It imports the compiler, which is not needed to measure.
    from codegen.targets import Target

PLAN = "ceilings"
ARITHMETIC, MEMORY = "multiply_add", "copy"
THREADS = 256
TIMES, RUNS = 10, 5
"""Launches in a graph; measurements, of which the best counts."""
NOT_COUNTED = Work(multiply_adds=0, simple=0, dear=0, loads=0, stores=0, scalars=0)

SUMS, ROUNDS, BLOCKS = 16, 1024, 8192
FMA = f"""
extern "C" __global__ void __launch_bounds__({THREADS}) multiply_add(float* result) {{
  float sums[{SUMS}];
  float by = 1.0f - 1e-7f * threadIdx.x, more = 1e-3f * (blockIdx.x + 1);
  #pragma unroll
  for (int i = 0; i < {SUMS}; ++i) sums[i] = i;
  #pragma unroll 8
  for (int round = 0; round < {ROUNDS}; ++round) {{
    #pragma unroll
    for (int i = 0; i < {SUMS}; ++i) sums[i] = sums[i] * by + more;
  }}
  float sum = 0.0f;
  #pragma unroll
  for (int i = 0; i < {SUMS}; ++i) sum += sums[i];
  result[blockIdx.x * {THREADS} + threadIdx.x] = sum;
}}
"""

COPIED, EACH = 1 << 29, 4
"""Bytes, larger than any cache; groups of 16 that one thread copies."""
COPY = f"""
extern "C" __global__ void __launch_bounds__({THREADS}) copy(const float4* from, float4* to) {{
  long long first = (long long)blockIdx.x * {THREADS * EACH} + threadIdx.x;
  float4 held[{EACH}];
  #pragma unroll
  for (int i = 0; i < {EACH}; ++i) held[i] = from[first + i * {THREADS}];
  #pragma unroll
  for (int i = 0; i < {EACH}; ++i) to[first + i * {THREADS}] = held[i];
}}
"""


@dataclass(frozen=True)
class Ceilings:
    """What a card reached: operations and bytes per second."""

    flops: float
    bytes: float


def measured(plans: Path) -> Ceilings:
    """The best of some runs of each kernel."""
    path = plans / PLAN / "plan.json"
    plan = single(read(path), TIMES)
    with open_executor(plan, folder(path)) as executor:
        least = {
            name: min(timed(executor, name, runs=3) for _ in range(RUNS)) / TIMES
            for name in plan.kernels
        }
    flops, moved = plan.kernels[ARITHMETIC].flops, plan.kernels[MEMORY].moved
    return Ceilings(flops / least[ARITHMETIC], moved / least[MEMORY])


def build(path: Path, target: "Target") -> None:
    """Write the plan. Raises Error without a compiler."""
    arches = target.facts()["arch"].split(",")
    files: dict[str, bytes] = {}
    kernels = {
        ARITHMETIC: _fma(_binaries(ARITHMETIC, FMA, arches, files)),
        MEMORY: _copy(_binaries(MEMORY, COPY, arches, files)),
    }
    publish(only(PLAN, target, kernels), path, files)


def _binaries(
    name: str, source: str, arches: list[str], files: dict[str, bytes]
) -> dict[str, Binary]:
    """The binary of each architecture; adds it to the plan's files."""
    found = {}
    for arch in arches:
        cubin = toolchain.find().compile(source, arch).cubin
        file = f"lib/{name}.{arch}.cubin"
        files[file] = cubin
        found[arch] = Binary(file, hashlib.sha256(cubin).hexdigest())
    return found


def _fma(binaries: dict[str, Binary]) -> Kernel:
    results = BLOCKS * THREADS
    launch = _launch(ARITHMETIC, BLOCKS, (0,))
    return Kernel(
        code=Cubins(binaries, (launch,), scratch=0),
        arguments=(Argument(4 * results, "write"),),
        flops=2 * SUMS * ROUNDS * results,
        moved=4 * results,
        work=NOT_COUNTED,
        measured=False,
    )


def _copy(binaries: dict[str, Binary]) -> Kernel:
    launch = _launch(MEMORY, COPIED // (16 * THREADS * EACH), (0, 1))
    return Kernel(
        code=Cubins(binaries, (launch,), scratch=0),
        arguments=(Argument(COPIED, "read"), Argument(COPIED, "write")),
        flops=0,
        moved=2 * COPIED,
        work=NOT_COUNTED,
        measured=False,
    )


def _launch(symbol: str, blocks: int, arguments: tuple[int, ...]) -> Launch:
    return Launch(
        symbol=symbol,
        grid=(blocks, 1, 1),
        block=(THREADS, 1, 1),
        arguments=arguments,
        shared=0,
        registers=0,
    )
