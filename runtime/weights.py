"""Say what a checkpoint holds: `python -m runtime.weights CKPT`.

Magnitudes of each parameter beside those of its momentum show layers that do not learn, or that
run away.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ir.command import run
from ir.plan import one_line
from runtime.tensors import Numbers, opened

_FACTS = ("step", "epoch", "seed")
_MOMENTUM = ".momentum"
_HEAD = f"{'parameter':24} {'shape':>16} {'mean |w|':>11} {'max |w|':>11} {'mean |v|':>11}"


def lines(path: Path) -> Iterator[str]:
    """How far the run was, and a line for each parameter; v is its momentum.

    Sums of gradients over several batches have lines of their own. Raises DataError for a file
    that is no whole safetensors file of numbers.
    """
    with opened(path) as found:
        yield _facts(found.header.metadata)
        yield _HEAD
        names = found.header.tensors
        for name in sorted(names):
            if not name.endswith(_MOMENTUM):
                momentum = name + _MOMENTUM
                speed = found.read(momentum) if momentum in names else None
                yield _line(one_line(name), found.read(name), speed)


def _facts(metadata: Any) -> str:
    found = metadata if isinstance(metadata, dict) else {}
    return one_line(", ".join(f"{key} {found[key]}" for key in _FACTS if key in found))


def _line(name: str, weight: Numbers, speed: Numbers | None) -> str:
    shape, sizes = "x".join(map(str, weight.shape)), np.abs(weight)
    if not weight.size:
        return f"{name:24} {shape:>16}"
    moved = "" if speed is None or not speed.size else f"{np.abs(speed).mean():11.4g}"
    return f"{name:24} {shape:>16} {sizes.mean():11.4g} {sizes.max():11.4g} {moved:>11}"


def main() -> None:
    """Say how large a checkpoint's parameters are, and how fast they change."""
    parser = ArgumentParser(prog="python -m runtime.weights", description=main.__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="as runtime.train writes it")
    print("\n".join(lines(parser.parse_args().checkpoint)))


if __name__ == "__main__":
    run(main)
