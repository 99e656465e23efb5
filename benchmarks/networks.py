"""Our models by name, and their layers as other frameworks name them."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ir.command import Error
from ir.graph import Graph, Node
from ir.ops.window import positions

NETS = ("alexnet", "cifar", "oneweirdtrick", "vgg")
LAYERS = {"conv", "dense", "relu", "lrn", "max_pool", "flatten", "dropout"}
"""Ops that peers have; biases belong to the layer before them."""
SURROUNDINGS = {
    *("input", "param", "constant", "cast", "center", "crop", "channel_shift", "scale_by"),
    *("bias_add", "cross_entropy", "accuracy"),
}
"""What peers do without: the data's preparation is our step's own burden."""


def network(net: str, batch: int, *, lrn: bool = True) -> Graph:
    """A model; without its response normalisation on request. Raises Error where it has none."""
    build: Callable[..., Graph] = getattr(import_module(f"frontend.{net}"), net)
    if not lrn and not has_switch(net):
        raise Error(f"{net} has no --no-lrn; expected alexnet")
    return build(batch) if lrn else build(batch, lrn=False)


def has_switch(net: str) -> bool:
    """Whether a model can leave out its response normalisation."""
    build = getattr(import_module(f"frontend.{net}"), net)
    return "lrn" in inspect.signature(build).parameters


def layers(graph: Graph) -> list[Node]:
    """The layers of a network in their order, which is a chain. Raises Error for other ops."""
    for node in graph.nodes:
        if node.op not in LAYERS | SURROUNDINGS:
            raise Error(f"{graph.name} has {node.op}; peers have {', '.join(sorted(LAYERS))} only")
    return [node for node in graph.nodes if node.op in LAYERS]


def images(graph: Graph) -> tuple[int, ...]:
    """The shape of what the first layer reads [N,3,H,W]."""
    return layers(graph)[0].inputs[0].type.shape


def padding(node: Node) -> int:
    """The pixels around an image that give a convolution as many results as ours.

    Peers pad all sides alike, ours may need more on the far ones. Raises Error where no such
    padding is.
    """
    attrs: Any = node.attrs
    around: int = max(-(-sum(attrs["pad"][:2]) // 2), -(-sum(attrs["pad"][2:]) // 2))
    size, window = (x.type.shape[2:] for x in node.inputs)
    if positions(size, window, attrs["stride"], (around,) * 4) != node.type.shape[2:]:
        raise Error(f"{node.name}: pads {attrs['pad']} are none that all sides could share")
    return around
