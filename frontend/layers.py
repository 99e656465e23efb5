"""The layers that models are written in; each one is a short function on tensors.

Sizes follow the 2012 program: out = 1 + ceil((2 pad + in - window) / stride). The last window may
overhang the image; what it lacks becomes a larger pad at the bottom and on the right.
A layer `fc6` has the parameters `fc6.weight` and `fc6.bias`, and the results `fc6` (the
contraction) and `fc6.biased`.
"""

from frontend.dsl import Model, Tensor, reports
from ir.op import require
from ir.ops.window import positions, require_images
from ir.type import DType

BIAS_RATE = 2.0
"""Biases learn twice as fast as weights and do not decay, as in the 2012 program."""


# ---------------------------------------------------------------------------- data


@reports("layer")
def images(
    model: Model,
    size: int,
    store: int | None = None,
    *,
    matched_mean: bool = True,
    colour: bool = True,
    gain: bool = False,
) -> Tensor:
    """Crops of a side of `size` from stored u8 images of a side of `store`, around 0.

    With `matched_mean` every pixel loses the mean of its own place in the stored image, else of
    its place in the crop, as in the 2012 program. `colour` adds a fed shift per image and
    channel, `gain` then multiplies by a fed scalar.
    """
    store = size * 8 // 7 if store is None else store
    require(1 <= size <= store, f"a crop of {size} from images of {store}; expected it to fit")
    x = model.input("images", model.batch, 3, store, store, dtype=DType.U8)
    x = _crop(_center(x), size) if matched_mean else _center(_crop(x, size))
    if colour:
        shift = model.input("shift", model.batch, 3)
        x = model.apply("channel_shift", x, shift, name="shifted")
    if gain:
        x = model.apply("scale_by", x, model.input("gain"), name="scaled")
    return x


def _center(x: Tensor) -> Tensor:
    mean = x.model.input("mean", *x.shape[1:])
    pixels = x.model.apply("cast", x, name="pixels", to="f32")
    return x.model.apply("center", pixels, mean, name="centered")


def _crop(x: Tensor, size: int) -> Tensor:
    batch, places = x.model.batch, x.shape[2] - size + 1
    offset = x.model.input("offset", batch, 2, dtype=DType.I32, below=places)
    flip = x.model.input("flip", batch, dtype=DType.I32, below=2)
    return x.model.apply("crop", x, offset, flip, name="crop", size=(size, size))


# ---------------------------------------------------------------------------- weights


@reports("layer")
def conv(
    x: Tensor,
    name: str,
    maps: int,
    kernel: int,
    *,
    stride: int = 1,
    pad: int = 0,
    groups: int = 1,
    std: float = 0.01,
    bias: float = 0.0,
    decay: float = 1.0,
    whole: bool = False,
) -> Tensor:
    """`maps` kernels over the images; with groups, each sees only the maps of its own group."""
    pads = _pads(x, kernel, stride, pad)
    channels = x.shape[1]
    require(
        groups >= 1 and channels % groups == 0,
        f"{channels} channels in {groups} groups; expected a divisor of {channels}",
    )
    shape = maps, channels // groups, kernel, kernel
    weight = x.model.param(f"{name}.weight", *shape, std=std, decay=decay)
    square = stride, stride
    y = x.model.apply(
        "conv", x, weight, name=name, stride=square, pad=pads, groups=groups, whole=int(whole)
    )
    return _biased(y, name, (maps,), bias)


@reports("layer")
def local(
    x: Tensor,
    name: str,
    maps: int,
    kernel: int,
    *,
    stride: int = 1,
    pad: int = 0,
    std: float = 0.01,
    bias: float = 0.0,
    decay: float = 1.0,
) -> Tensor:
    """A convolution with own weights and biases at every position."""
    pads = _pads(x, kernel, stride, pad)
    square = stride, stride
    out = positions(x.shape[2:], (kernel, kernel), square, pads)
    shape = maps, *out, x.shape[1], kernel, kernel
    weight = x.model.param(f"{name}.weight", *shape, std=std, decay=decay)
    y = x.model.apply("local", x, weight, name=name, stride=square, pad=pads)
    return _biased(y, name, y.shape[1:], bias)


@reports("layer")
def dense(
    x: Tensor,
    name: str,
    units: int,
    *,
    std: float = 0.01,
    bias: float = 0.0,
    decay: float = 1.0,
    whole: bool = False,
) -> Tensor:
    """Every unit sees every feature; `whole` keeps the layer on one device."""
    _require_matrix(x)
    weight = x.model.param(f"{name}.weight", units, x.shape[1], std=std, decay=decay)
    y = x.model.apply("dense", x, weight, name=name, whole=int(whole))
    return _biased(y, name, (units,), bias)


def _biased(x: Tensor, name: str, shape: tuple[int, ...], value: float) -> Tensor:
    bias = x.model.param(f"{name}.bias", *shape, value=value, rate=BIAS_RATE, decay=0.0)
    return x.model.apply("bias_add", x, bias, name=f"{name}.biased")


# ---------------------------------------------------------------------------- the rest


@reports("layer")
def relu(x: Tensor, name: str) -> Tensor:
    """max(x, 0)."""
    return x.model.apply("relu", x, name=name)


@reports("layer")
def tanh(x: Tensor, name: str) -> Tensor:
    """tanh(x)."""
    return x.model.apply("tanh", x, name=name)


@reports("layer")
def lrn(
    x: Tensor,
    name: str,
    *,
    size: int = 5,
    k: float = 2.0,
    alpha: float = 1e-4,
    beta: float = 0.75,
    groups: int = 1,
) -> Tensor:
    """x / (k + alpha * sum of squares over `size` neighbouring maps of its group) ^ beta."""
    return x.model.apply("lrn", x, name=name, size=size, k=k, alpha=alpha, beta=beta, groups=groups)


@reports("layer")
def spatial_lrn(
    x: Tensor, name: str, *, size: int, k: float = 1.0, alpha: float, beta: float = 0.75
) -> Tensor:
    """x / (k + alpha * sum of squares over a square of its own map) ^ beta."""
    return x.model.apply("spatial_lrn", x, name=name, size=size, k=k, alpha=alpha, beta=beta)


@reports("layer")
def max_pool(x: Tensor, name: str, window: int, *, stride: int, ties: str = "all") -> Tensor:
    """The largest pixel of each window; `ties` says which of equal ones get the gradient."""
    return _pool("max_pool", x, name, window, stride, ties=ties)


@reports("layer")
def avg_pool(x: Tensor, name: str, window: int, *, stride: int) -> Tensor:
    """The mean of the pixels of each window, of those that exist."""
    return _pool("avg_pool", x, name, window, stride)


@reports("layer")
def dropout(x: Tensor, name: str, p: float) -> Tensor:
    """x with each element dropped with probability p. The kept ones are not rescaled."""
    seed = x.model.input("seed", dtype=DType.U32)
    step = x.model.input("step", dtype=DType.U32)
    stream = sum(node.op == "dropout" for node in x.model)
    return x.model.apply("dropout", x, seed, step, name=name, p=p, stream=stream)


@reports("layer")
def flatten(x: Tensor, name: str) -> Tensor:
    """[N,C,H,W] as a matrix [N,C*H*W]."""
    return x.model.apply("flatten", x, name=name)


@reports("layer")
def classify(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and the shares of images whose label is first and among the first five."""
    _require_matrix(logits)
    batch, classes = logits.shape
    model = logits.model
    labels = model.input("labels", batch, dtype=DType.I32, below=classes)
    weights = model.input("weights", batch)
    loss = model.apply("cross_entropy", logits, labels, weights, name="loss")
    top1 = model.apply("accuracy", logits, labels, weights, name="top1", top=1)
    top5 = model.apply("accuracy", logits, labels, weights, name="top5", top=min(5, classes))
    return loss, top1, top5


# ---------------------------------------------------------------------------- geometry


def _pool(op: str, x: Tensor, name: str, window: int, stride: int, **ties: str) -> Tensor:
    pads = _pads(x, window, stride, 0)
    return x.model.apply(
        op, x, name=name, window=(window, window), stride=(stride, stride), pad=pads, **ties
    )


def _pads(x: Tensor, window: int, stride: int, pad: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) such that the last window is whole."""
    require_images(x.type)
    require(
        window >= 1 and stride >= 1 and pad >= 0,
        f"window {window}, stride {stride}, pad {pad}; expected >= 1, >= 1, >= 0",
    )
    bottom, right = (_far_pad(size, window, stride, pad) for size in x.shape[2:])
    return pad, bottom, pad, right


def _far_pad(size: int, window: int, stride: int, pad: int) -> int:
    steps = -((window - size - 2 * pad) // stride)
    require(
        steps >= 0,
        f"a window of {window} on {size} pixels with pad {pad}; "
        f"expected at least {window - 2 * pad - stride + 1} pixels",
    )
    return steps * stride + window - size - pad


def _require_matrix(x: Tensor) -> None:
    require(len(x.shape) == 2, f"'{x.node.name}' is {x.type}; expected a matrix, so flatten it")
