"""Local response normalisation, across maps (paper section 3.3) or across positions of one map.

    d_i = k + alpha * sum over j in window(i) of x_j^2        y_i = x_i * d_i^-beta
Differentiating y_j by x_i, with the sum over the windows that i lies in:
    dx_i = dy_i d_i^-beta - 2 alpha beta x_i * sum over j: i in window(j) of dy_j y_j / d_j
The window of size n starts n//2 before i and is clipped; alpha is not divided by n here, so a
net that wants the 2012 code's division writes it into alpha.
"""

import numpy as np

from ir.graph import AttrValue
from ir.op import Array, Attr, Fusion, Local, Op, Shards, per_element, require, split_locally
from ir.ops.conv import NOT_IN_PLACE, require_groups
from ir.ops.elementwise import AFTER_GRAD, FIRST_ORDER
from ir.ops.window import require_images
from ir.type import TensorType

FORMULA = {
    "size": Attr(int, least=1),
    "k": Attr(float, least=0),
    "alpha": Attr(float, least=0),
    "beta": Attr(float, least=0),
}
GROUPS = {"groups": Attr(int, 1, least=1)}


def norm_type(x: TensorType, *, groups: int = 1, **_: AttrValue) -> TensorType:
    """The type of x; groups must divide its maps."""
    require_images(x)
    require_groups(x, groups)
    return x


def norm_dx_type(x: TensorType, dy: TensorType, *, groups: int = 1, **_: AttrValue) -> TensorType:
    """The type of x, which is also that of dy."""
    require(x == dy, f"expected dy of type {x}, got {dy}")
    return norm_type(x, groups=groups)


def _window_sum(v: Array, axis: int, before: int, after: int) -> Array:
    """Sum of v over [i - before, i + after] along an axis, clipped."""
    edges = [(0, 0)] * v.ndim
    edges[axis] = (before, after)
    wide = np.pad(v, edges)
    count = v.shape[axis]
    total: Array = np.zeros_like(v)
    for start in range(before + after + 1):
        total += np.take(wide, range(start, start + count), axis=axis)
    return total


def _across_maps(v: Array, before: int, after: int, groups: int) -> Array:
    grouped = v.reshape(v.shape[0], groups, -1, *v.shape[2:])
    return _window_sum(grouped, 2, before, after).reshape(v.shape)


def _across_positions(v: Array, before: int, after: int, groups: int) -> Array:
    return _window_sum(_window_sum(v, 2, before, after), 3, before, after)


class _Norm:
    """Reference of both norms; they differ in what a window is."""

    def __init__(self, spatial: bool) -> None:
        self._sum = _across_positions if spatial else _across_maps

    def forward(
        self, x: Array, *, size: int, k: float, alpha: float, beta: float, groups: int = 1
    ) -> Array:
        before = size // 2
        d = k + alpha * self._sum(x * x, before, size - 1 - before, groups)
        y: Array = x * d**-beta
        return y

    def backward(
        self,
        x: Array,
        dy: Array,
        *,
        size: int,
        k: float,
        alpha: float,
        beta: float,
        groups: int = 1,
    ) -> Array:
        """dx = dy d^-beta - 2 alpha beta x sum(dy x d^(-beta - 1)), d = k + alpha sum(x^2)."""
        before, after = size // 2, size - 1 - size // 2
        d = k + alpha * self._sum(x * x, before, after, groups)
        # i lies in the window of j when j - before <= i <= j + after: the mirrored window.
        mirrored = self._sum(dy * x * d ** (-beta - 1), after, before, groups)
        dx: Array = dy * d**-beta - 2 * alpha * beta * x * mirrored
        return dx


def lrn_split(parts: int, x: TensorType, *, groups: int, **_: AttrValue) -> Shards | str:
    """Groups never look at each other, so whole groups can be parted."""
    if groups % parts:
        return f"its {groups} groups do not divide over {parts} devices"
    return Shards((Local(),), lambda shard: {"groups": groups // parts})


def _row(name: str, doc: str, spatial: bool, backward: bool, **cells: object) -> Op:
    norm = _Norm(spatial)
    attrs = FORMULA if spatial else {**FORMULA, **GROUPS}
    row: dict[str, object] = {
        "operands": ("x", "dy") if backward else ("x",),
        "type": norm_dx_type if backward else norm_type,
        "reference": norm.backward if backward else norm.forward,
        "fusion": Fusion.WINDOW,
        "alias": NOT_IN_PLACE,
        "flops": per_element(20 if backward else 10),
        "attrs": attrs,
    }
    if backward:
        row |= {"gradient": FIRST_ORDER, "split": AFTER_GRAD}
    else:
        row["gradient"] = {"x": lambda a: a.emit(f"{name}_dx", a.inputs[0], a.dy, **a.attrs)}
    return Op(name=name, doc=doc, **(row | cells))  # type: ignore[arg-type]


ROWS = (
    _row(
        "lrn",
        "Response normalisation across the maps of one group.",
        spatial=False,
        backward=False,
        split=lrn_split,
    ),
    _row("lrn_dx", "dL/dx of lrn.", spatial=False, backward=True),
    _row(
        "spatial_lrn",
        "Response normalisation across a square of positions within one map.",
        spatial=True,
        backward=False,
        split=split_locally,
    ),
    _row("spatial_lrn_dx", "dL/dx of spatial_lrn.", spatial=True, backward=True),
)
