"""The CIFAR-10 nets of cuda-convnet, which the 2012 paper's small experiments rest on.

13pct has two convolutions and two locally connected layers; 11pct adds response normalisation
and widens local3 (paper section 3.3); 18pct has three convolutions. All train with learning rate
0.001, momentum 0.9 and a weight decay of 0.004, the unit of the `decay` multipliers below.
With `--image 24` the images are cropped; with 32 they are whole, so the only offset is 0.
`python -m frontend.cifar` prints one as IR text.
"""

from collections.abc import Callable
from functools import partial

from frontend.dsl import Model, Tensor
from frontend.layers import (
    avg_pool,
    classify,
    conv,
    dense,
    flatten,
    images,
    local,
    lrn,
    max_pool,
    spatial_lrn,
)
from frontend.options import add_activation, numbered, parser, pick, write
from ir.command import Error, run
from ir.graph import Graph

Activation = Callable[[Tensor, int | str], Tensor]

STORE = 32
IMAGES = (24, 32)
CLASSES = 10


def local_net(x: Tensor, act: Activation, *, norm: bool, maps3: int, fc_decay: float) -> Tensor:
    """Two convolutions, two locally connected layers."""
    respond = partial(lrn, size=9, k=1.0, alpha=0.001 / 9) if norm else _as_is
    x = conv(x, "conv1", 64, 5, pad=2, std=1e-4, decay=0.0)
    x = act(x, 1)
    x = max_pool(x, "pool1", 3, stride=2)
    x = respond(x, "norm1")
    x = conv(x, "conv2", 64, 5, pad=2, decay=0.0)
    x = act(x, 2)
    x = respond(x, "norm2")
    x = max_pool(x, "pool2", 3, stride=2)
    x = local(x, "local3", maps3, 3, pad=1, std=0.04)
    x = act(x, 3)
    x = local(x, "local4", 32, 3, pad=1, std=0.04)
    x = act(x, 4)
    x = flatten(x, "features")
    return dense(x, "fc10", CLASSES, decay=fc_decay)


def conv_net(x: Tensor, act: Activation) -> Tensor:
    """Three convolutions; normalisation within each map."""
    respond = partial(spatial_lrn, size=3, alpha=5e-5 / 9)
    x = conv(x, "conv1", 32, 5, pad=2, std=1e-4)
    x = max_pool(x, "pool1", 3, stride=2)
    x = act(x, 1)
    x = respond(x, "norm1")
    x = conv(x, "conv2", 32, 5, pad=2)
    x = act(x, 2)
    x = avg_pool(x, "pool2", 3, stride=2)
    x = respond(x, "norm2")
    x = conv(x, "conv3", 64, 5, pad=2)
    x = act(x, 3)
    x = avg_pool(x, "pool3", 3, stride=2)
    x = flatten(x, "features")
    return dense(x, "fc10", CLASSES, decay=250.0)


def _as_is(x: Tensor, name: str) -> Tensor:
    return x


NETS: dict[str, Callable[[Tensor, Activation], Tensor]] = {
    "13pct": partial(local_net, norm=False, maps3=32, fc_decay=1.0),
    "11pct": partial(local_net, norm=True, maps3=64, fc_decay=2.5),
    "18pct": conv_net,
}


def cifar(
    batch: int = 128, *, net: str = "13pct", image: int = 32, activation: str = "relu"
) -> Graph:
    """One of the nets; the options are those of the command. Raises Error."""
    logits = pick(NETS, net, "net")
    if image not in IMAGES:
        raise Error(f"image is {image}; expected 24 (crops) or 32 (whole images)")
    model = Model(f"cifar_{net}", batch)
    x = images(model, image, STORE, matched_mean=False, colour=False)
    return model.finish(*classify(logits(x, numbered(activation))))


def main() -> None:
    """Print a CIFAR-10 net as IR text."""
    options = parser("cifar", main.__doc__)
    add = options.add_argument
    add("--net", choices=NETS, default="13pct", help="by its test error (default 13pct)")
    add("--image", type=int, choices=IMAGES, default=32, help="32, or crops of 24 (default 32)")
    add_activation(options)
    write(cifar(**vars(options.parse_args())))


if __name__ == "__main__":
    run(main)
