"""dy in tiles as minimal filtering multiplies it: G dy G^T, 16 maps per lane."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from codegen.kernels.cpu.linear import ZERO, transform
from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.writer import LANES, Writer
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range
from codegen.kernels.winograd.phases import Phases
from codegen.loops import Expr


@dataclass(frozen=True)
class Patch:
    """A tile of dy by its row and column of tiles, in a block of images and a block of maps."""

    block: Expr
    maps: Expr
    row: Expr
    column: Expr


class Cotangents:
    """Transforms dy, a tile of 16 images and 16 maps at a time."""

    def __init__(self, w: Writer, phases: Phases, dy: Any) -> None:
        """Reserve what that takes; call it inside `tasks`."""
        self._w, self._phases, self._dy = w, phases, dy
        down, across = phases.down, phases.across
        self._turned = w.scratch(down.size, across.size, LANES, LANES)
        self._half = w.scratch(down.products, across.size, LANES)

    def transform(
        self,
        patch: Patch,
        images: Range,
        result: Scratch,
        at: Callable[[Expr, Expr], tuple[Expr, ...]],
    ) -> None:
        """result[at(product, image)] for all products and some images."""
        w, down, across = self._w, self._phases.down, self._phases.across
        height, width = w.let(down.has(patch.row)), w.let(across.has(patch.column))
        self._turn(patch, height, width)
        with w.serial(images[1] - images[0], images[0]) as image:
            with w.serial(width) as x:
                for kind in down.kind(w, patch.row):
                    vectors = [self._turned[y, x, image, VECTOR] for y in range(kind.size)]
                    matrix = kind.gradient.taps_matrix
                    transform(w, matrix, vectors, self._half, lambda i: (i, x), kind.first)
            low = w.let(down.first(patch.row))
            with w.serial(down.products - low, low) as i:
                panel = i * across.products
                for kind in across.kind(w, patch.column):
                    vectors = [self._half[i, x, VECTOR] for x in range(kind.size)]
                    matrix = kind.gradient.taps_matrix
                    transform(
                        w, matrix, vectors, result, lambda j: at(panel + j, image), kind.first
                    )

    def _turn(self, patch: Patch, height: Expr, width: Expr) -> None:
        """Put the lanes' images where the maps were."""
        w, down, across = self._w, self._phases.down, self._phases.across
        top, left = w.let(down.start(patch.row)), w.let(across.start(patch.column))
        with w.serial(height) as i, w.serial(width) as j:
            rows = [self._images(patch, k, top + i, left + j) for k in range(LANES)]
            for image, vector in enumerate(transposed(w, rows)):
                w.put(self._turned, vector, i, j, image, VECTOR)

    def _images(self, patch: Patch, k: int, y: Expr, x: Expr) -> Expr:
        """16 images of a map; zero beyond the last map, as is the padding of what they update."""
        last = int(self._dy.shape[1]) - 1
        number = patch.maps * LANES + k
        images = self._dy[patch.block, tirx.min(number, last), y, x, VECTOR]
        return tirx.Select(number <= last, images, ZERO) if (last + 1) % LANES else images


def transposed(w: Writer, rows: Sequence[Expr]) -> list[Expr]:
    """The transpose of 16 vectors of 16 lanes: blocks off the diagonal change places, the largest
    first."""
    result = list(rows)
    for size in (8, 4, 2, 1):
        low = [lane if not lane & size else LANES + lane - size for lane in range(LANES)]
        high = [lane + size if not lane & size else LANES + lane for lane in range(LANES)]
        for i in (i for i in range(LANES) if not i & size):
            pair = result[i], result[i + size]
            result[i], result[i + size] = (_shuffled(w, pair, lanes) for lanes in (low, high))
    return result


def _shuffled(w: Writer, pair: tuple[Expr, Expr], lanes: list[int]) -> Expr:
    """Lanes of two vectors, those of the second one counted from 16."""
    indices = [tirx.const(lane, "int32") for lane in lanes]
    return w.let(tirx.Shuffle(list(pair), indices), f"float32x{LANES}")
