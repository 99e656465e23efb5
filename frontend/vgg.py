"""Configuration A of "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2014).

Eleven weight layers, 3 x 3 convolutions throughout, no normalisation. The weights start as its
section 3.1 says they can without pre-training: by the rule of Glorot and Bengio (2010).
`python -m frontend.vgg` prints it as IR text.
"""

from math import sqrt

from frontend import layers
from frontend.dsl import Model
from frontend.layers import classify, conv, dense, flatten, images, max_pool, relu
from frontend.options import add_sizes, parser, scaled, write
from ir.command import run
from ir.graph import Graph

BLOCKS = ((64,), (128,), (256, 256), (512, 512), (512, 512))


def vgg(
    batch: int = 128,
    *,
    dropout: float = 0.5,
    classes: int = 1000,
    image: int = 224,
    store: int | None = None,
    width: float = 1.0,
) -> Graph:
    """The net; the options are those of the command. Raises Error."""
    units = scaled(4096, width)

    model = Model("vgg", batch)
    x = images(model, image, store)
    for block, widths in enumerate(BLOCKS, start=1):
        for layer, maps in enumerate(widths, start=1):
            maps = scaled(maps, width)
            x = conv(x, f"conv{block}_{layer}", maps, 3, pad=1, std=_glorot(x.shape[1], maps, 9))
            x = relu(x, f"relu{block}_{layer}")
        x = max_pool(x, f"pool{block}", 2, stride=2)
    x = flatten(x, "features")
    for name in ("6", "7"):
        x = dense(x, f"fc{name}", units, std=_glorot(x.shape[1], units))
        x = relu(x, f"relu{name}")
        x = layers.dropout(x, f"drop{name}", dropout) if dropout else x
    x = dense(x, "fc8", classes, std=_glorot(x.shape[1], classes))
    return model.finish(*classify(x))


def _glorot(inputs: int, outputs: int, taps: int = 1) -> float:
    """The std that about keeps the variance of values forward and of gradients backward."""
    return sqrt(2 / max(1, (inputs + outputs) * taps))


def main() -> None:
    """Print the VGG net A as IR text."""
    options = parser("vgg", main.__doc__)
    add_sizes(options)
    write(vgg(**vars(options.parse_args())))


if __name__ == "__main__":
    run(main)
