"""Say what a checkpoint holds: `python -m runtime.weights CKPT`.

Magnitudes of each parameter beside those of its momentum show layers that do not learn, or that
run away.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from ir.command import DataError, run
from runtime.packing import Array

_FACTS = ("step", "epoch", "seed")
_MOMENTUM = ".momentum"
_HEAD = f"{'parameter':24} {'shape':>16} {'mean |w|':>11} {'max |w|':>11} {'mean |v|':>11}"


def lines(path: Path) -> Iterator[str]:
    """How far the run was, and a line for each parameter; v is its momentum.

    Sums of gradients over several batches have lines of their own. Raises DataError for a file
    that is no whole safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = file.metadata() or {}
            yield ", ".join(f"{key} {facts[key]}" for key in _FACTS if key in facts)
            yield _HEAD
            names = sorted(file.keys())
            for name in names:
                if not name.endswith(_MOMENTUM):
                    momentum = name + _MOMENTUM
                    speed = file.get_tensor(momentum) if momentum in names else None
                    yield _line(name, file.get_tensor(name), speed)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a checkpoint: {error}") from error


def _line(name: str, weight: Array, speed: Array | None) -> str:
    shape, sizes = "x".join(map(str, weight.shape)), np.abs(weight)
    moved = "" if speed is None else f"{np.abs(speed).mean():11.4g}"
    return f"{name:24} {shape:>16} {sizes.mean():11.4g} {sizes.max():11.4g} {moved:>11}"


def main() -> None:
    """Say how large a checkpoint's parameters are, and how fast they change."""
    parser = ArgumentParser(prog="python -m runtime.weights", description=main.__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="as runtime.train writes it")
    print("\n".join(lines(parser.parse_args().checkpoint)))


if __name__ == "__main__":
    run(main)
