"""A small two-tower AlexNet and its training, written out by hand: no graph, no compiler.

It shares nothing with the project but the Philox generator, whose known answers are tested.
Convolutions here are matrix products over gathered windows, pools and norms are loops over
positions, and every derivative stands beside its function.
"""

from collections.abc import Iterator

import numpy as np

from ir.op import Array
from ir.ops.random import random_words

Params = dict[str, Array]


def gather(x: Array, kernel: int, stride: int, pad: tuple[int, int], fill: float = 0.0) -> Array:
    """Windows of x [N,C,H,W], as [N,OH,OW,C,kernel,kernel]; pad is (before, after)."""
    x = np.pad(x, ((0, 0), (0, 0), pad, pad), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    return windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)


def scatter(parts: Array, shape: tuple[int, ...], stride: int, pad: tuple[int, int]) -> Array:
    """The adjoint of `gather`."""
    n, c, h, w = shape
    whole = np.zeros((n, c, h + sum(pad), w + sum(pad)))
    kernel = parts.shape[-1]
    for i, j in np.ndindex(parts.shape[1:3]):
        y, x = i * stride, j * stride
        whole[:, :, y : y + kernel, x : x + kernel] += parts[:, i, j]
    return whole[:, :, pad[0] : pad[0] + h, pad[0] : pad[0] + w]


class Layer:
    """One layer: `forward` keeps what `backward` needs."""

    def forward(self, x: Array) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        raise NotImplementedError

    def gradients(self) -> Params:
        return {}


class Conv(Layer):
    def __init__(
        self,
        name: str,
        params: Params,
        stride: int = 1,
        pad: tuple[int, int] = (0, 0),
        towers: int = 1,
    ) -> None:
        self.name, self.params, self.stride, self.pad, self.towers = (
            name, params, stride, pad, towers,
        )  # fmt: skip

    def _towers(self, x: Array) -> Iterator[tuple[slice, slice]]:
        maps, channels = len(self.params[f"{self.name}.bias"]), x.shape[1]
        for t in range(self.towers):
            m, c = maps // self.towers, channels // self.towers
            yield slice(t * m, (t + 1) * m), slice(t * c, (t + 1) * c)

    def forward(self, x: Array) -> Array:
        self.x = x
        w, b = self.params[f"{self.name}.weight"], self.params[f"{self.name}.bias"]
        self.windows, parts = [], []
        for maps, channels in self._towers(x):
            patch = gather(x[:, channels], w.shape[2], self.stride, self.pad)
            self.windows.append(patch)
            parts.append(np.tensordot(patch, w[maps], axes=([3, 4, 5], [1, 2, 3])))
        return np.concatenate(parts, axis=3).transpose(0, 3, 1, 2) + b[:, None, None]

    def backward(self, dy: Array) -> Array:
        w = self.params[f"{self.name}.weight"]
        dx = np.zeros_like(self.x)
        self.dw, self.db = np.zeros_like(w), dy.sum(axis=(0, 2, 3))
        for (maps, channels), patch in zip(self._towers(self.x), self.windows, strict=True):
            d = dy[:, maps].transpose(0, 2, 3, 1)
            self.dw[maps] = np.tensordot(d, patch, axes=([0, 1, 2], [0, 1, 2]))
            parts = np.tensordot(d, w[maps], axes=([3], [0]))
            shape = self.x[:, channels].shape
            dx[:, channels] = scatter(parts, shape, self.stride, self.pad)
        return dx

    def gradients(self) -> Params:
        return {f"{self.name}.weight": self.dw, f"{self.name}.bias": self.db}


class Dense(Layer):
    def __init__(self, name: str, params: Params) -> None:
        self.name, self.params = name, params

    def forward(self, x: Array) -> Array:
        self.shape, self.x = x.shape, x.reshape(len(x), -1)
        y: Array = self.x @ self.params[f"{self.name}.weight"].T
        return y + self.params[f"{self.name}.bias"]

    def backward(self, dy: Array) -> Array:
        self.dw, self.db = dy.T @ self.x, dy.sum(axis=0)
        dx: Array = dy @ self.params[f"{self.name}.weight"]
        return dx.reshape(self.shape)

    def gradients(self) -> Params:
        return {f"{self.name}.weight": self.dw, f"{self.name}.bias": self.db}


class Relu(Layer):
    def forward(self, x: Array) -> Array:
        self.on = x > 0
        return x * self.on

    def backward(self, dy: Array) -> Array:
        dx: Array = dy * self.on
        return dx


class MaxPool(Layer):
    """3/2; every maximum gets the whole gradient."""

    def forward(self, x: Array) -> Array:
        over = -(x.shape[2] - 3) % 2
        self.shape, self.pad = x.shape, (0, over)
        windows = gather(x, 3, 2, self.pad, -np.inf)
        y = windows.max(axis=(4, 5))
        self.hit = windows == y[..., None, None]
        largest: Array = y.transpose(0, 3, 1, 2)
        return largest

    def backward(self, dy: Array) -> Array:
        return scatter(
            self.hit * dy.transpose(0, 2, 3, 1)[..., None, None], self.shape, 2, self.pad
        )


class Norm(Layer):
    """Across the five maps around each, within a tower; the Jacobian is written out in full."""

    def __init__(self, towers: int, alpha: float) -> None:
        self.towers, self.alpha = towers, alpha

    def forward(self, x: Array) -> Array:
        maps = np.arange(x.shape[1])
        tower = maps * self.towers // len(maps)
        near = np.abs(maps[:, None] - maps) <= 2
        self.near = (near & (tower[:, None] == tower)).astype(float)
        self.x, self.d = x, 2 + self.alpha * np.einsum("ij,njhw->nihw", self.near, x * x)
        y: Array = x * self.d**-0.75
        return y

    def backward(self, dy: Array) -> Array:
        inner = np.einsum("ji,njhw->nihw", self.near, dy * self.x * self.d**-1.75)
        dx: Array = dy * self.d**-0.75 - 1.5 * self.alpha * self.x * inner
        return dx


class Dropout(Layer):
    def __init__(self, seed: int, step: int, stream: int) -> None:
        self.key = seed, stream, step

    def forward(self, x: Array) -> Array:
        words = random_words(np.arange(x.size, dtype=np.uint64), *self.key)
        self.kept = (words >= 2**31).reshape(x.shape)
        return x * self.kept

    def backward(self, dy: Array) -> Array:
        return dy * self.kept


def layers(params: Params, seed: int, step: int) -> list[Layer]:
    """The paper's net for 64-pixel images: conv1 overhangs the far edge by two."""
    return [
        Conv("conv1", params, stride=4, pad=(0, 3)), Relu(), Norm(2, 1e-4), MaxPool(),
        Conv("conv2", params, pad=(2, 2), towers=2), Relu(), Norm(2, 1e-4), MaxPool(),
        Conv("conv3", params, pad=(1, 1)), Relu(),
        Conv("conv4", params, pad=(1, 1), towers=2), Relu(),
        Conv("conv5", params, pad=(1, 1), towers=2), Relu(), MaxPool(),
        Dense("fc6", params), Relu(), Dropout(seed, step, 0),
        Dense("fc7", params), Relu(), Dropout(seed, step, 1),
        Dense("fc8", params),
    ]  # fmt: skip


def augmented(feeds: Params, size: int) -> Array:
    """Crop, flip, mean and colour shift, image by image."""
    ready = []
    for image, (row, column), flip, shift in zip(
        feeds["images"], feeds["offset"], feeds["flip"], feeds["shift"], strict=True
    ):
        centred = image.astype(float) - feeds["mean"]
        crop = centred[:, row : row + size, column : column + size]
        ready.append((crop[:, :, ::-1] if flip else crop) + shift[:, None, None])
    return np.stack(ready)


def loss_and_gradients(params: Params, feeds: Params, size: int) -> tuple[float, Params]:
    """The mean of -log p[label] over the images that count, and its derivatives."""
    net = layers(params, int(feeds["seed"]), int(feeds["step"]))
    x = augmented(feeds, size)
    for layer in net:
        x = layer.forward(x)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    weights = feeds["weights"] / feeds["weights"].sum()
    own = p[np.arange(len(p)), feeds["labels"]]
    dy = weights[:, None] * (p - (np.arange(p.shape[1]) == feeds["labels"][:, None]))
    gradients: Params = {}
    for layer in reversed(net):
        dy = layer.backward(dy)
        gradients |= layer.gradients()
    return float(-(weights * np.log(own)).sum()), gradients


def train_step(
    params: Params, momenta: Params, feeds: Params, size: int, *, momentum: float, decay: float
) -> float:
    """One step in place: v <- m v - rate (g + decay w), w <- w + v; biases do not decay."""
    loss, gradients = loss_and_gradients(params, feeds, size)
    for name, g in gradients.items():
        rate = float(feeds[f"{name}.rate"])
        shrink = decay * params[name] if name.endswith("weight") else 0.0
        if rate:
            momenta[name] = momentum * momenta[name] - rate * (g + shrink)
            params[name] = params[name] + momenta[name]
    return loss
