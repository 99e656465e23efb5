"""Every model, small enough to be run by the oracle."""

from collections.abc import Callable

from frontend.alexnet import alexnet
from frontend.cifar import cifar
from frontend.oneweirdtrick import oneweirdtrick
from frontend.vgg import vgg
from ir.graph import Graph
from tests.counts import sampled


def _small_alexnet(**options: object) -> Callable[[], Graph]:
    sizes: dict[str, object] = {"batch": 2, "width": 0.125, "image": 64, "classes": 10}
    return lambda: alexnet(**(sizes | options))  # type: ignore[arg-type]


SMALL: dict[str, Callable[[], Graph]] = {
    "paper": _small_alexnet(),
    "code145": _small_alexnet(preset="code145"),
    "one-gpu": _small_alexnet(one_gpu=True),
    "towers-1": _small_alexnet(towers=1),
    "towers-4": _small_alexnet(towers=4),
    "no-lrn": _small_alexnet(lrn=False),
    "pool-2/2": _small_alexnet(pool="2/2"),
    "tanh-no-dropout": _small_alexnet(activation="tanh", dropout=0.0),
    "first-ties": _small_alexnet(ties="first"),
    "13pct": lambda: cifar(2, net="13pct"),
    "11pct": lambda: cifar(2, net="11pct", image=24),
    "18pct": lambda: cifar(2, net="18pct", activation="tanh"),
    "oneweirdtrick": lambda: oneweirdtrick(2, width=0.125, image=64, classes=10),
    "vgg": lambda: vgg(2, width=0.125, image=32, classes=10),
}

SOME = sampled(list(SMALL), "paper", "towers-4", "11pct", "18pct", "oneweirdtrick", "vgg")
"""A few that have every op between them; the others under `--full` only."""
