"""Kernels that do one thing only, as fast as a GPU can: the ceilings of all others.

They multiply and add in each form of operands: f32, by fused multiply-adds of threads, tf32 and
bf16, by tensor cores (`products`); they copy memory, and do nothing. They are CUDA C, compiled
ahead into a plan like all others.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from codegen.cuda import toolchain
from codegen.folder import publish
from codegen.tuning.cuda import products
from codegen.tuning.cuda.single import only
from ir.plan import Argument, Cubin, Cubins, Kernel, Launch, Work

if TYPE_CHECKING:
    # It imports the compiler, which is not needed to measure.
    from codegen.targets import Target

PLAN = "ceilings"
MEMORY, NOTHING = "copy", "launch"
"""The kernels that do not multiply; others are named after the form of their operands."""
THREADS = 256
NOT_COUNTED = Work(*[0] * len(Work.__struct_fields__))

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

LAUNCHES = 100
"""In one call: so that what a graph takes beside them counts little."""
EMPTY = """
extern "C" __global__ void nothing(float* result) {}
"""

PRODUCTS, SPREAD = 4096, 16 * 132
"""Rounds; blocks, which are as many for each processor of an H200."""

Binaries = dict[str, tuple[str, str]]
"""By architecture: the file and its hash."""


def build(path: Path, target: "Target") -> None:
    """Write the plan. Raises Error without a compiler."""
    files: dict[str, bytes] = {}

    def binaries(name: str, source: Callable[[str], str]) -> Binaries:
        """Of each architecture; adds them to the plan's files."""
        return {arch: _binary(name, source(arch), arch, files) for arch in arches}

    arches = target.facts()["arch"].split(",")
    kernels = {"f32": _fma(binaries("f32", lambda arch: FMA))}
    for form in products.FORMS:
        source = partial(products.source, form, rounds=PRODUCTS)
        kernels[form] = _products(form, binaries(form, source))
    kernels[MEMORY] = _copy(binaries(MEMORY, lambda arch: COPY))
    kernels[NOTHING] = _empty(binaries(NOTHING, lambda arch: EMPTY))
    publish(only(PLAN, target, kernels), path, files)


def _binary(name: str, source: str, arch: str, files: dict[str, bytes]) -> tuple[str, str]:
    file = f"lib/{name}.{arch}.cubin"
    files[file] = toolchain.find().compile(source, arch).cubin
    return file, hashlib.sha256(files[file]).hexdigest()


def _fma(binaries: Binaries) -> Kernel:
    results = BLOCKS * THREADS
    launch = _launch("multiply_add", BLOCKS, (0,))
    written = Argument(4 * results, "write", "f32")
    return _kernel(binaries, launch, (written,), 2 * SUMS * ROUNDS * results)


def _products(form: str, binaries: Binaries) -> Kernel:
    launch = _launch("multiply_all", SPREAD, (0, 1), dynamic=products.OPERANDS)
    operands = Argument(products.OPERANDS, "read", "bf16" if form == "bf16" else "f32")
    sums = Argument(16 * SPREAD * products.THREADS, "write", "f32")
    flops = 2 * SPREAD * products.multiply_adds(form, PRODUCTS)
    return _kernel(binaries, launch, (operands, sums), flops)


def _copy(binaries: Binaries) -> Kernel:
    launch = _launch(MEMORY, COPIED // (16 * THREADS * EACH), (0, 1))
    both = (Argument(COPIED, "read", "f32"), Argument(COPIED, "write", "f32"))
    return _kernel(binaries, launch, both, 0)


def _empty(binaries: Binaries) -> Kernel:
    launch = _launch("nothing", 1, (0,))
    return _kernel(binaries, launch, (Argument(4, "write", "f32"),), 0, times=LAUNCHES)


def _kernel(
    binaries: Binaries,
    launch: Launch,
    arguments: tuple[Argument, ...],
    flops: int,
    times: int = 1,
) -> Kernel:
    launches = (launch,) * times
    return Kernel(
        code=Cubins({arch: Cubin(*file, launches, 0) for arch, file in binaries.items()}),
        arguments=arguments,
        flops=flops,
        moved=sum(each.bytes for each in arguments),
        work=NOT_COUNTED,
        measured=False,
    )


def _launch(symbol: str, blocks: int, arguments: tuple[int, ...], dynamic: int = 0) -> Launch:
    return Launch(
        symbol=symbol,
        grid=(blocks, 1, 1),
        block=(THREADS, 1, 1),
        arguments=arguments,
        shared=0,
        dynamic=dynamic,
        registers=0,
    )
