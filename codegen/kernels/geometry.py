"""Where pooling windows lie on an image, for numbers and for loop variables alike."""

from codegen.kernels.attributes import integers
from codegen.kernels.ranges import Range, clipped, floored, largest
from codegen.loops import Expr
from ir.graph import Node
from ir.ops.window import positions

Taps = tuple[Range, Range]
"""The rows and columns of one window."""


class Geometry:
    """Where windows lie on the image `size`."""

    def __init__(self, node: Node, size: tuple[int, ...]) -> None:
        self.size = size
        names = "window", "stride", "pad"
        self.window, self.stride, pad = (integers(node, name) for name in names)
        self.before = pad[0], pad[2]
        count = positions(size, self.window, self.stride, pad)
        last = [(n - 1) * s - p for n, s, p in zip(count, self.stride, self.before, strict=True)]
        # Windows that never need clipping have a constant length, so their loops are unrolled.
        self.whole = [
            self.before[axis] == 0 and last[axis] + self.window[axis] <= size[axis]
            for axis in (0, 1)
        ]

    def pixels(self, axis: int, window: Expr) -> Range:
        """The pixels of one window along an axis."""
        start = window * self.stride[axis] - self.before[axis]
        if self.whole[axis]:
            return start, start + self.window[axis]
        return clipped(start, start + self.window[axis], self.size[axis])

    def windows(self, axis: int, pixels: Range, count: int) -> Range:
        """The windows that meet some pixels."""
        low, high = (pixel + self.before[axis] for pixel in pixels)
        stride = self.stride[axis]
        first = floored(largest(low - self.window[axis] + stride, 0), stride)
        return clipped(first, floored(high + stride - 1, stride), count)

    def taps(self, i: Expr, j: Expr) -> Taps:
        """The pixels of a window."""
        return self.pixels(0, i), self.pixels(1, j)
