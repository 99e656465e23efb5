"""What the models' files share: options of their commands, and what some of these mean."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

from frontend.dsl import Tensor
from frontend.layers import relu, tanh
from ir.command import Error
from ir.graph import Graph
from ir.printer import print_graph

T = TypeVar("T")

ACTIVATIONS = {"relu": relu, "tanh": tanh}
MAX_WIDTH = 1000


# ---------------------------------------------------------------------------- commands


def parser(model: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m frontend.MODEL`, with `--batch` in it."""
    found = argparse.ArgumentParser(prog=f"python -m frontend.{model}", description=description)
    found.add_argument("--batch", type=int, default=128, help="images per step (default 128)")
    return found


def add_activation(found: argparse.ArgumentParser) -> None:
    """Add `--activation`."""
    found.add_argument(
        "--activation", choices=ACTIVATIONS, default="relu", help="of hidden units (default relu)"
    )


def add_sizes(found: argparse.ArgumentParser) -> None:
    """Add what the ImageNet models have in common."""
    add = found.add_argument
    add("--dropout", type=float, metavar="P", default=0.5, help="0 for none (default 0.5)")
    add("--classes", type=int, default=1000, help="labels to tell apart (default 1000)")
    add("--image", type=int, default=224, help="side of the crops (default 224)")
    add("--store", type=int, help="side of the stored images (default 8/7 of the crops')")
    add("--width", type=float, default=1.0, help="factor on the map and unit counts (default 1)")


def write(graph: Graph) -> None:
    """Write a graph's text to standard output."""
    sys.stdout.write(print_graph(graph))


# ---------------------------------------------------------------------------- meanings


def pick(table: Mapping[str, T], key: str, what: str) -> T:
    """The entry of a table. Raises Error naming those there are."""
    if key not in table:
        raise Error(f"{what} is {key!r}; expected one of {', '.join(table)}")
    return table[key]


def numbered(activation: str) -> Callable[[Tensor, int | str], Tensor]:
    """An activation whose results are called relu1, relu2, ... or tanh1, ... Raises Error."""
    layer = pick(ACTIVATIONS, activation, "activation")
    return lambda x, number: layer(x, f"{activation}{number}")


def scaled(count: int, width: float, multiple: int = 1) -> int:
    """A number of maps or units times `width`, to the nearest positive multiple. Raises Error."""
    if not 0 < width <= MAX_WIDTH:
        raise Error(f"width is {width}; expected more than 0 and at most {MAX_WIDTH}")
    return max(1, round(count * width / multiple)) * multiple
