"""The oracle with its convolutions done by PyTorch on the GPU, where that is there.

NumPy takes minutes for those of a full-size net. All else is NumPy's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from ir import eval as oracle
from ir.graph import Node
from ir.op import Array, Op
from ir.ops import row_of
from ir.ops.precision import rounded

Tensor = Any
Attrs = dict[str, Any]


@contextmanager
def quick_oracle() -> Iterator[None]:
    """Let `run_graph` do so meanwhile."""
    torch = _torch()
    if torch is None:
        yield
        return

    def row(node: Node) -> Op:
        if node.op not in CONVOLUTIONS:
            return row_of(node)
        return replace(row_of(node), reference=_reference(torch, CONVOLUTIONS[node.op]))

    with mock.patch.object(oracle, "row_of", row):
        yield


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.backends.cudnn.allow_tf32 = False
    return torch if torch.cuda.is_available() else None


def _reference(torch: Any, convolution: Callable[..., Tensor]) -> Callable[..., Array]:
    def reference(one: Array, other: Array, **attrs: Any) -> Array:
        read = (rounded(x, attrs["math"]) for x in (one, other))
        operands = (torch.from_numpy(np.ascontiguousarray(x)).cuda() for x in read)
        result: Array = convolution(torch, attrs, *operands).cpu().numpy()
        return result

    return reference


def _padded(torch: Any, a: Attrs, x: Tensor) -> Tensor:
    top, bottom, left, right = a["pad"]
    return torch.nn.functional.pad(x, (left, right, top, bottom))


def _conv(torch: Any, a: Attrs, x: Tensor, w: Tensor) -> Tensor:
    return torch.conv2d(_padded(torch, a, x), w, stride=a["stride"], groups=a["groups"])


def _conv_dx(torch: Any, a: Attrs, w: Tensor, dy: Tensor) -> Tensor:
    (top, bottom, left, right), (height, width) = a["pad"], a["size"]
    shape = len(dy), w.shape[1] * a["groups"], height + top + bottom, width + left + right
    how = {"stride": a["stride"], "groups": a["groups"]}
    padded = torch.nn.grad.conv2d_input(shape, w, dy, **how)
    return padded[:, :, top : top + height, left : left + width]


def _conv_dw(torch: Any, a: Attrs, x: Tensor, dy: Tensor) -> Tensor:
    shape = dy.shape[1], x.shape[1] // a["groups"], *a["kernel"]
    how = {"stride": a["stride"], "groups": a["groups"]}
    return torch.nn.grad.conv2d_weight(_padded(torch, a, x), shape, dy, **how)


CONVOLUTIONS: dict[str, Callable[..., Tensor]] = {
    "conv": _conv,
    "conv_dx": _conv_dx,
    "conv_dw": _conv_dw,
}
