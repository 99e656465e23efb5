"""PyTorch's call for each op of ours that it has, on random numbers of the same shapes."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.contest import Turn
from ir.graph import Node


def covered(nodes: Sequence[Node]) -> list[Node]:
    """What PyTorch is timed on of a region: its contraction alone, else all ops that it has."""
    contractions = [node for node in nodes if node.op in CONTRACTIONS]
    return contractions or [node for node in nodes if node.op in OPS]


def peer(torch: Any, nodes: Sequence[Node]) -> Turn:
    """Calls for all of them, one after another."""
    calls = [{**CONTRACTIONS, **OPS}[node.op](torch, node) for node in nodes]

    def turn() -> None:
        for call in calls:
            call()

    return turn


# ---------------------------------------------------------------------------- contractions


def _dense(torch: Any, node: Node) -> Turn:
    one, other = _operands(torch, node)
    way = node.op.partition("_")[2]
    products = {"": lambda: one @ other.T, "dx": lambda: other @ one}
    return products.get(way, lambda: other.T @ one)


def _conv(torch: Any, node: Node) -> Turn:
    """PyTorch pads both sides alike, so x is padded before the clock runs."""
    x, other = _operands(torch, node)
    x = _padded(torch, x, node)
    return lambda: torch.nn.functional.conv2d(x, other, **_options(node))


def _conv_dx(torch: Any, node: Node) -> Turn:
    w, dy = _operands(torch, node)
    x = torch.empty(*node.type.shape[:2], *_padded_size(node))
    return _backward(torch, node, dy, x, w, wanted=0)


def _conv_dw(torch: Any, node: Node) -> Turn:
    x, dy = _operands(torch, node)
    w = torch.empty(node.type.shape)
    return _backward(torch, node, dy, _padded(torch, x, node), w, wanted=1)


def _backward(torch: Any, node: Node, dy: Any, x: Any, w: Any, *, wanted: int) -> Turn:
    options: Any = _options(node)
    geometry = [list(options["stride"]), [0, 0], [1, 1], False, [0, 0], options["groups"]]
    mask = [wanted == 0, wanted == 1, False]
    return lambda: torch.ops.aten.convolution_backward(dy, x, w, None, *geometry, mask)


def _options(node: Node) -> dict[str, object]:
    return {"stride": node.attrs["stride"], "groups": node.attrs["groups"]}


def _padded(torch: Any, x: Any, node: Node) -> Any:
    pad: Any = node.attrs["pad"]
    top, bottom, left, right = pad
    return torch.nn.functional.pad(x, (left, right, top, bottom))


def _padded_size(node: Node) -> tuple[int, int]:
    pad: Any = node.attrs["pad"]
    height, width = node.type.shape[2:]
    return height + pad[0] + pad[1], width + pad[2] + pad[3]


# ---------------------------------------------------------------------------- the rest


def _forward(call: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Node], Turn]:
    """Of an op with one operand: call(torch.nn.functional, x, attributes)."""

    def made(torch: Any, node: Node) -> Turn:
        (x,) = _operands(torch, node)[:1]
        return lambda: call(torch.nn.functional, x, node.attrs)

    return made


def _adjoint(call: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Node], Turn]:
    """Of the gradient of such an op, whose last operand is dy."""

    def made(torch: Any, node: Node) -> Turn:
        x = torch.randn(node.type.shape, requires_grad=True)
        y, dy = call(torch.nn.functional, x, node.attrs), torch.randn(node.inputs[-1].type.shape)
        return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)

    return made


def _max_pool(f: Any, x: Any, attrs: Any) -> Any:
    return f.max_pool2d(x, attrs["window"], attrs["stride"], ceil_mode=True)


def _avg_pool(f: Any, x: Any, attrs: Any) -> Any:
    return f.avg_pool2d(x, attrs["window"], attrs["stride"], ceil_mode=True)


def _norm(f: Any, x: Any, attrs: Any) -> Any:
    """The alpha of PyTorch is for the sum divided by the size of the window."""
    alpha = attrs["alpha"] * attrs["size"]
    return f.local_response_norm(x, attrs["size"], alpha, attrs["beta"], attrs["k"])


def _bias_dw(torch: Any, node: Node) -> Turn:
    (dy,) = _operands(torch, node)[:1]
    axes = [axis for axis in range(dy.dim()) if axis != 1]
    return lambda: dy.sum(axes)


def _operands(torch: Any, node: Node) -> list[Any]:
    return [torch.randn(x.type.shape) for x in node.inputs]


CONTRACTIONS: dict[str, Callable[[Any, Node], Turn]] = {
    "conv": _conv,
    "conv_dx": _conv_dx,
    "conv_dw": _conv_dw,
    "dense": _dense,
    "dense_dx": _dense,
    "dense_dw": _dense,
}
OPS: dict[str, Callable[[Any, Node], Turn]] = {
    "relu": _forward(lambda f, x, attrs: f.relu(x)),
    "relu_dx": _adjoint(lambda f, x, attrs: f.relu(x)),
    "lrn": _forward(_norm),
    "lrn_dx": _adjoint(_norm),
    "max_pool": _forward(_max_pool),
    "max_pool_dx": _adjoint(_max_pool),
    "avg_pool": _forward(_avg_pool),
    "avg_pool_dx": _adjoint(_avg_pool),
    "bias_dw": _bias_dw,
}
