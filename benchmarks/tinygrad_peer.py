"""Training steps of our networks in tinygrad, the same layers and update, for comparison only."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.networks import images, layers, padding
from ir.graph import Graph, Node


def tinygrad_step(graph: Graph) -> Callable[[], None]:
    """One training step, replayed once it is known, on fixed random images. Needs tinygrad."""
    tinygrad: Any = import_module("tinygrad")
    tensor: Any = tinygrad.Tensor
    tensor.manual_seed(0)
    chain = layers(graph)
    weights = [_weights(tensor, node) for node in chain]
    params = [each for pair in weights for each in pair]
    pixels = tensor.randn(*images(graph)).realize()
    batch, classes = chain[-1].type.shape
    labels = tensor.randint(batch, high=classes).realize()
    descent = tinygrad.nn.optim.SGD(params, lr=1e-3, momentum=0.9, weight_decay=5e-4)

    def step() -> Any:
        with tinygrad.Context(TRAINING=1):
            descent.zero_grad()
            x = pixels
            for node, pair in zip(chain, weights, strict=True):
                x = _layer(node, x, *pair)
            loss = x.sparse_categorical_crossentropy(labels).backward()
            return loss.realize(*descent.schedule_step())

    replayed = tinygrad.TinyJit(step)

    def turn() -> None:
        replayed()
        tinygrad.Device[tinygrad.Device.DEFAULT].synchronize()

    return turn


def _weights(tensor: Any, node: Node) -> tuple[Any, ...]:
    """Weights and biases of a layer; nothing for one that has none."""
    if node.op not in ("conv", "dense"):
        return ()
    shape = node.inputs[1].type.shape
    return (tensor.randn(*shape) * 0.01).contiguous(), tensor.zeros(shape[0]).contiguous()


def _layer(node: Node, x: Any, *weights: Any) -> Any:
    attrs: Any = node.attrs
    match node.op:
        case "conv":
            options = {"stride": attrs["stride"], "groups": attrs["groups"]}
            return x.conv2d(*weights, padding=padding(node), **options)
        case "dense":
            return x.linear(weights[0].transpose(), weights[1])
        case "max_pool":
            return x.max_pool2d(attrs["window"], attrs["stride"], ceil_mode=True)
        case "lrn":
            return _norm(x, attrs)
        case "relu":
            return x.relu()
        case "dropout":
            return x.dropout(attrs["p"])
    return x.flatten(1)


def _norm(x: Any, attrs: Any) -> Any:
    """Response normalisation within each group of maps."""
    n, maps, height, width = x.shape
    size, groups = attrs["size"], attrs["groups"]
    before = size // 2
    squares = (x * x).reshape(n, groups, maps // groups, height * width)
    around = squares.pad((None, None, (before, size - 1 - before), None))
    parts = (around[:, :, i : i + maps // groups] for i in range(size))
    sums = sum(parts, start=0).reshape(x.shape)
    return x / (attrs["k"] + attrs["alpha"] * sums) ** attrs["beta"]
