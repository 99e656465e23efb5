"""AlexNet: "ImageNet Classification with Deep Convolutional Neural Networks" (2012).

`python -m frontend.alexnet` prints it as IR text. The net is one graph on whole tensors: `groups`
says which maps a layer sees, and the compiler finds the towers in that.
"""

from collections.abc import Callable
from dataclasses import dataclass

from frontend import layers
from frontend.dsl import Model, Tensor
from frontend.layers import classify, conv, dense, flatten, images
from frontend.options import add_activation, add_sizes, numbered, parser, pick, scaled, write
from ir.command import Error, run
from ir.graph import Graph


@dataclass(frozen=True)
class Preset:
    """Where the text of the paper and the program behind its numbers part ways."""

    block1: str
    block2: str
    block5: str
    alpha: float
    std: float  # of conv3, conv4, conv5
    matched_mean: bool
    gain: bool


PRESETS = {
    "paper": Preset(
        block1="act norm pool",
        block2="act norm pool",
        block5="act pool",
        alpha=1e-4,
        std=0.01,
        matched_mean=True,
        gain=False,
    ),
    "code145": Preset(
        block1="norm pool act",
        block2="act norm spatial pool",
        block5="pool act",
        alpha=1e-4 / 5,  # the program divides by the size of the window
        std=0.03,
        matched_mean=False,
        gain=True,
    ),
}
POOLS = {"3/2": (3, 2, 1), "2/2": (2, 1, 0)}  # the window, and the pads of conv2 and conv5
TOWERS = (1, 2, 4)


def alexnet(
    batch: int = 128,
    *,
    preset: str = "paper",
    one_gpu: bool = False,
    towers: int | None = None,
    lrn: bool = True,
    pool: str = "3/2",
    activation: str = "relu",
    dropout: float = 0.5,
    classes: int = 1000,
    image: int = 224,
    store: int | None = None,
    width: float = 1.0,
    ties: str = "all",
) -> Graph:
    """The net; the options are those of the command. Raises Error."""
    p = pick(PRESETS, preset, "preset")
    window, pad2, pad5 = pick(POOLS, pool, "pool")
    towers = _towers(one_gpu, towers)
    counts = (48, 128, 192, 192, 256, 4096) if one_gpu else (96, 256, 384, 384, 256, 4096)
    m1, m2, m3, m4, m5, units = (scaled(count, width, towers) for count in counts)

    steps: dict[str, Callable[[Tensor, int], Tensor]] = {
        "act": numbered(activation),
        "norm": lambda x, n: layers.lrn(x, f"norm{n}", alpha=p.alpha, groups=towers),
        "spatial": lambda x, n: layers.spatial_lrn(x, f"spatial{n}", size=5, alpha=0.001 / 25),
        "pool": lambda x, n: layers.max_pool(x, f"pool{n}", window, stride=2, ties=ties),
        "drop": lambda x, n: layers.dropout(x, f"drop{n}", dropout),
    }
    left_out = {"norm", "spatial"} if not lrn else set()
    left_out |= {"drop"} if dropout == 0 else set()

    def then(x: Tensor, n: int, names: str) -> Tensor:
        for name in names.split():
            x = x if name in left_out else steps[name](x, n)
        return x

    model = Model("alexnet", batch)
    x = images(model, image, store, matched_mean=p.matched_mean, gain=p.gain)
    x = conv(x, "conv1", m1, 11, stride=4)  # 96 x 55 x 55
    x = then(x, 1, p.block1)  # 96 x 27 x 27
    x = conv(x, "conv2", m2, 5, pad=pad2, groups=towers, bias=1.0)
    x = then(x, 2, p.block2)  # 256 x 13 x 13
    x = conv(x, "conv3", m3, 3, pad=1, std=p.std)
    x = then(x, 3, "act")  # 384 x 13 x 13
    x = conv(x, "conv4", m4, 3, pad=1, groups=towers, std=p.std, bias=1.0)
    x = then(x, 4, "act")  # 384 x 13 x 13
    x = conv(x, "conv5", m5, 3, pad=pad5, groups=towers, std=p.std, bias=1.0)
    x = then(x, 5, p.block5)  # 256 x 6 x 6
    x = flatten(x, "features")  # 9216
    x = dense(x, "fc6", units, bias=1.0)
    x = then(x, 6, "act drop")  # 4096
    x = dense(x, "fc7", units, bias=1.0)
    x = then(x, 7, "act drop")  # 4096
    x = dense(x, "fc8", classes, whole=True)
    return model.finish(*classify(x))


def _towers(one_gpu: bool, towers: int | None) -> int:
    if towers is None:
        return 1 if one_gpu else 2
    if towers not in TOWERS or (one_gpu and towers > 1):
        raise Error(f"towers is {towers}; expected " + ("1 on one GPU" if one_gpu else "1, 2 or 4"))
    return towers


def main() -> None:
    """Print AlexNet as IR text."""
    options = parser("alexnet", main.__doc__)
    add = options.add_argument
    add("--preset", choices=PRESETS, default="paper", help="its text (default), or its code")
    add("--one-gpu", action="store_true", help="the paper's comparison net: narrower, one tower")
    add("--towers", type=int, choices=TOWERS, help="into which the grouped layers fall (default 2)")
    add("--no-lrn", dest="lrn", action="store_false", help="without response normalisation")
    add("--pool", choices=POOLS, default="3/2", help="window/stride (default 3/2, overlapping)")
    add(
        "--ties", choices=("all", "first"), default="all", help="maxima with gradient (default all)"
    )
    add_activation(options)
    add_sizes(options)
    write(alexnet(**vars(options.parse_args())))


if __name__ == "__main__":
    run(main)
