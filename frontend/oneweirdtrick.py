"""The one-tower net of "One weird trick for parallelizing convolutional neural networks" (2014).

The paper gives the widths 64-192-384-256-256. The rest is its author's configuration of it in
cuda-convnet2 (layers-imagenet-1gpu.cfg): normalisation before pooling and ReLU in block 1, across
all maps of the layer, with alpha divided by the window's size; pooling before ReLU in block 5;
fc8's bias at -7; the crop's own mean, and images divided by 1.1 while there is colour noise.
`python -m frontend.oneweirdtrick` prints it as IR text.
"""

from frontend import layers
from frontend.dsl import Model
from frontend.layers import classify, conv, dense, flatten, images, lrn, max_pool, relu
from frontend.options import add_sizes, parser, scaled, write
from ir.command import run
from ir.graph import Graph

ALPHA = 1e-4 / 5


def oneweirdtrick(
    batch: int = 128,
    *,
    dropout: float = 0.5,
    classes: int = 1000,
    image: int = 224,
    store: int | None = None,
    width: float = 1.0,
) -> Graph:
    """The net; the options are those of the command. Raises Error."""
    m1, m2, m3, m4, m5, units = (scaled(n, width) for n in (64, 192, 384, 256, 256, 4096))

    model = Model("oneweirdtrick", batch)
    x = images(model, image, store, matched_mean=False, gain=True)
    x = conv(x, "conv1", m1, 11, stride=4)  # 64 x 55 x 55
    x = lrn(x, "norm1", alpha=ALPHA)
    x = max_pool(x, "pool1", 3, stride=2)
    x = relu(x, "relu1")  # 64 x 27 x 27
    x = conv(x, "conv2", m2, 5, pad=2, bias=1.0)
    x = relu(x, "relu2")
    x = lrn(x, "norm2", alpha=ALPHA)
    x = max_pool(x, "pool2", 3, stride=2)  # 192 x 13 x 13
    x = conv(x, "conv3", m3, 3, pad=1, std=0.03)
    x = relu(x, "relu3")  # 384 x 13 x 13
    x = conv(x, "conv4", m4, 3, pad=1, std=0.03, bias=1.0)
    x = relu(x, "relu4")  # 256 x 13 x 13
    x = conv(x, "conv5", m5, 3, pad=1, std=0.03, bias=1.0)
    x = max_pool(x, "pool5", 3, stride=2)
    x = relu(x, "relu5")  # 256 x 6 x 6
    x = flatten(x, "features")
    for name in ("6", "7"):
        x = dense(x, f"fc{name}", units, bias=1.0)
        x = relu(x, f"relu{name}")
        x = layers.dropout(x, f"drop{name}", dropout) if dropout else x
    x = dense(x, "fc8", classes, bias=-7.0)
    return model.finish(*classify(x))


def main() -> None:
    """Print the one-tower net of 2014 as IR text."""
    options = parser("oneweirdtrick", main.__doc__)
    add_sizes(options)
    write(oneweirdtrick(**vars(options.parse_args())))


if __name__ == "__main__":
    run(main)
