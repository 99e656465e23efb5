"""What this machine's cores can do at most, from five small kernels, in about two seconds."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from msgspec.structs import replace

from codegen.cost.speeds import guess
from codegen.targets import Cpu
from codegen.tuning.fit import KINDS, Sample
from codegen.tuning.timing import Bench, Timed, best
from ir.plan import Speeds
from ir.plan.prediction import NANO, instructions
from ir.text import parse

REPEAT = 7
PRODUCT = """graph product {
  x: f32[96,1024] = input()
  w: f32[1024,1024] = input()
  y: f32[96,1024] = dense(x, w)
  output y
}
"""
COPY = """graph copy {{
  x: f32[{images},{values}] = input()
  y: f32[{images},{values}] = relu(x)
  output y
}}
"""
NEAR, FAR, EMPTY = (64, 16 * 1024), (256, 128 * 1024), (1, 1)
"""Shapes: 4 MB, which caches hold, 134 MB, and as good as nothing; read once and written once."""
MOVED = 8 * 2**20
"""Bytes of a transfer."""


def ceilings(target: Cpu, threads: int) -> Speeds:
    """What one core does while `threads` of them work. What instructions take beside each other is
    as it was guessed; a product tells how fast all are."""
    texts = [PRODUCT, *(COPY.format(images=n, values=v) for n, v in (NEAR, FAR, EMPTY))]
    kernels = [Bench(parse(text), target, threads).kernel(target) for text in texts]
    seconds = best([kernel.call for kernel in kernels], REPEAT, threads)
    product, near, far, empty = samples(kernels, seconds, threads)
    start = guess(target)
    factor = product.seconds / instructions(product.work, start)
    beyond = max(far.seconds - start.cache * near.seconds / near.moved, NANO)
    return replace(
        start,
        **{kind: rounded(getattr(start, kind) * factor) for kind in KINDS},
        origin=f"measured on {target.mcpu}",
        near=rounded(near.moved / near.seconds),
        far=rounded((far.moved - start.cache) / beyond),
        link=rounded(_link()),
        launch=rounded(empty.seconds / threads / NANO),
    )


def samples(kernels: Sequence[Timed], seconds: Sequence[float], threads: int) -> list[Sample]:
    """Kernels and what they took on so many cores."""
    pairs = zip(kernels, seconds, strict=True)
    return [Sample(kernel.work, kernel.moved, spent * threads) for kernel, spent in pairs]


def rounded(value: float) -> float:
    """Three digits: more would be noise."""
    return float(f"{value:.3g}")


def _link() -> float:
    """Bytes per second of a copy, which one thread makes."""
    source, target = (np.zeros(MOVED, np.uint8) for _ in range(2))
    spent = []
    for _ in range(REPEAT):
        begin = perf_counter()
        np.copyto(target, source)
        spent.append(perf_counter() - begin)
    return MOVED / min(spent[1:])
