"""The sizes that kernels leave open: those for CPUs, with a formula, and tiles for GPUs.

What was measured goes by classes of regions.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ir.graph import Graph, Node
from ir.ops.precision import form_of

KB = 1024
CACHE_FILES = "/sys/devices/system/cpu/cpu0/cache"


@dataclass(frozen=True)
class Caches:
    """Bytes of a core's first and second data cache, and of the one that cores share."""

    first: int = 32 * KB
    second: int = 512 * KB
    shared: int = 16 * 1024 * KB

    @classmethod
    def here(cls) -> "Caches":
        """This machine's; what cannot be read is taken to be small."""
        found: dict[str, int] = {}
        for folder in sorted(Path(CACHE_FILES).glob("index*")):
            with suppress(OSError, ValueError):
                found |= [_cache(folder)]
        sizes = {name: found[level] for name, level in LEVELS.items() if level in found}
        return cls(**sizes)


LEVELS = {"first": "1", "second": "2", "shared": "3"}


def _cache(folder: Path) -> tuple[str, int]:
    """A cache's level and size; instructions have one of their own."""
    kind, level, size = (
        (folder / name).read_text("ascii").strip() for name in ("type", "level", "size")
    )
    return "" if kind == "Instruction" else level, int(size.removesuffix("K")) * KB


@dataclass(frozen=True)
class Tuning:
    """What a kernel's rule leaves open.

    `tile`: results of a tile of minimal filtering, down and across; (0, 0) to do without; None
    for what takes the least work. `strip`: tiles side by side that share transformed weights.
    `cached`: bytes of a thread's products. `chunk`: bytes of what a weight gradient transforms at
    a time. `shape`: rows and columns of the register tile of direct convolutions and dense layers;
    None for the one that does most per load. `near`: bytes of the source that such a tile keeps in
    the first cache, or that a norm keeps of the last maps.
    """

    strip: int
    cached: int
    chunk: int
    tile: tuple[int, int] | None = None
    shape: tuple[int, int] | None = None
    near: int = 16 * KB


@dataclass(frozen=True)
class Shape:
    """A tile of a GPU's contraction (`codegen.kernels.cuda.tile`): the name of its class, and all
    its numbers but those that say how much there is to sum."""

    tile: str
    numbers: dict[str, int]


def by_formula(caches: Caches) -> Tuning:
    """Products stay in half of the second cache, a register tile's source in half of the
    first. What a weight gradient transforms stays in a part of the shared cache, which others need,
    too."""
    chunk = max(2 * caches.second, 3 * caches.shared // 16)
    return Tuning(strip=3, cached=caches.second // 2, chunk=chunk, near=caches.first // 2)


# ------------------------------------------------------------------------------- shapes

TUNED = ("conv", "conv_dx", "conv_dw", "dense", "dense_dx", "dense_dw")
"""The ops whose kernels have sizes to choose."""
WEIGHTS = {"": 1, "dx": 0, "dw": 2}
"""Which of an op's operands and its result has no images."""


def anchor(region: Graph) -> Node | None:
    """The contraction that a region begins with, if it has sizes to choose."""
    first = next((node for node in region.nodes if node.inputs), None)
    return first if first is not None and first.op in TUNED else None


def tile_class(region: Graph, winograd: str) -> str | None:
    """What regions for GPUs have in common that share a tile: their ops, the form of operands and
    all shapes, also the number of images, which decides how many tiles there are."""
    node = anchor(region)
    if node is None:
        return None
    ops = "+".join(each.op for each in region.nodes if each.inputs)
    shapes = ["x".join(map(str, x.type.shape)) for x in (*node.inputs, node)]
    return " ".join([winograd, ops, form_of(node), *shapes, *_facts(node)])


def shape_class(region: Graph, winograd: str) -> str | None:
    """What regions have in common that share a choice: all but the number of images.

    `winograd` says how far accuracy may be traded, which a choice must keep to.
    """
    node = anchor(region)
    if node is None:
        return None
    weights = WEIGHTS[node.op.partition("_")[2]]
    shapes = [
        "x".join(map(str, x.type.shape if place == weights else ("N", *x.type.shape[1:])))
        for place, x in enumerate((*node.inputs, node))
    ]
    return " ".join([winograd, node.op, *shapes, *_facts(node)])


def _facts(node: Node) -> list[str]:
    return [f"{name}={value}".replace(" ", "") for name, value in sorted(node.attrs.items())]
