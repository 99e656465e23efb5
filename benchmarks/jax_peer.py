"""Training steps of our networks in JAX, the same layers and update, for comparison only."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.networks import images, layers
from ir.graph import Graph, Node

RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4


def jax_step(graph: Graph) -> Callable[[], None]:
    """One training step, compiled as a whole, on fixed random images. Needs jax."""
    jax: Any = import_module("jax")

    random = np.random.default_rng(0)
    chain = layers(graph)
    weights = [_weights(node, random) for node in chain]
    params = jax.device_put([each for each in weights if each])
    pixels = jax.device_put(random.standard_normal(images(graph), np.float32))
    batch, classes = chain[-1].type.shape
    labels = jax.device_put(random.integers(0, classes, batch))

    def loss(params: Any, key: Any) -> Any:
        logits = _forward(jax, chain, params, pixels, key)
        return -jax.nn.log_softmax(logits)[jax.numpy.arange(batch), labels].mean()

    def step(params: Any, momenta: Any, key: Any) -> Any:
        key, own = jax.random.split(key)
        gradients = jax.grad(loss)(params, own)
        momenta = jax.tree.map(
            lambda v, g, w: MOMENTUM * v + g + DECAY * w, momenta, gradients, params
        )
        return jax.tree.map(lambda w, v: w - RATE * v, params, momenta), momenta, key

    compiled = jax.jit(step, donate_argnums=(0, 1))
    state = params, jax.tree.map(jax.numpy.zeros_like, params), jax.random.key(0)

    def turn() -> None:
        nonlocal state
        state = jax.block_until_ready(compiled(*state))

    return turn


def _weights(node: Node, random: np.random.Generator) -> Any:
    """Weights and biases of a layer; nothing for one that has none."""
    if node.op not in ("conv", "dense"):
        return ()
    weight = random.normal(0, 0.01, node.inputs[1].type.shape).astype(np.float32)
    return weight, np.zeros(weight.shape[0], np.float32)


def _forward(jax: Any, chain: list[Node], params: Any, x: Any, key: Any) -> Any:
    rest = iter(params)
    for place, node in enumerate(chain):
        if node.op in ("conv", "dense"):
            x = _linear(jax, node, x, *next(rest))
        elif node.op == "dropout":
            x = _dropout(jax, x, node.attrs["p"], jax.random.fold_in(key, place))
        else:
            x = _plain(jax, node, x)
    return x


def _linear(jax: Any, node: Node, x: Any, weight: Any, bias: Any) -> Any:
    if node.op == "dense":
        return x @ weight.T + bias
    attrs: Any = node.attrs
    pad = attrs["pad"]
    y = jax.lax.conv_general_dilated(
        x, weight, attrs["stride"], [pad[:2], pad[2:]], feature_group_count=attrs["groups"]
    )
    return y + bias[:, None, None]


def _plain(jax: Any, node: Node, x: Any) -> Any:
    attrs: Any = node.attrs
    if node.op == "relu":
        return jax.nn.relu(x)
    if node.op == "flatten":
        return x.reshape(x.shape[0], -1)
    if node.op == "max_pool":
        pad = attrs["pad"]
        around = [(0, 0), (0, 0), pad[:2], pad[2:]]
        window, stride = (1, 1, *attrs["window"]), (1, 1, *attrs["stride"])
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, stride, around)
    return _norm(jax, x, attrs)


def _norm(jax: Any, x: Any, attrs: Any) -> Any:
    """Response normalisation within each group of maps."""
    groups = x.reshape(x.shape[0], attrs["groups"], -1, *x.shape[2:])
    before = attrs["size"] // 2
    around = [(0, 0), (0, 0), (before, attrs["size"] - 1 - before), (0, 0), (0, 0)]
    window = (1, 1, attrs["size"], 1, 1)
    sums = jax.lax.reduce_window(groups**2, 0.0, jax.lax.add, window, (1,) * 5, around)
    return (groups / (attrs["k"] + attrs["alpha"] * sums) ** attrs["beta"]).reshape(x.shape)


def _dropout(jax: Any, x: Any, p: Any, key: Any) -> Any:
    return jax.numpy.where(jax.random.bernoulli(key, 1 - p, x.shape), x / (1 - p), 0)
