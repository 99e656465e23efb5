"""Pictures of runs and trained networks: `python -m runtime.show filters plan.json CKPT`.

The picture is an SVG or, where the name given with -o ends so, a PNG.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from ir.command import run
from runtime.pictures.file import check_name, write
from runtime.scenes import (
    show_curves,
    show_filters,
    show_maps,
    show_neighbours,
    show_predictions,
)
from runtime.trained import add_options, count


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m runtime.show", description=main.__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for add in (_filters, _curves, _predictions, _neighbours, _maps):
        add(kinds)
    return parser


def _filters(kinds: Any) -> None:
    parser = _kind(kinds, "filters", show_filters, "the first convolution's kernels, by device")
    parser.add_argument("plan", type=Path, help="plan.json, as codegen.build writes it")
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="with its parameters")
    parser.add_argument("--layer", metavar="NAME", help="of another convolution's weights")
    parser.add_argument("--channel", type=_place, metavar="N", help="one, in grey; not colours")


def _curves(kinds: Any) -> None:
    parser = _kind(kinds, "curves", show_curves, "loss and errors over the steps of runs")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder or log")


def _predictions(kinds: Any) -> None:
    parser = _kind(kinds, "predictions", show_predictions, "images with their likeliest classes")
    add_options(parser)
    _images(parser, 8)
    parser.add_argument("--only-errors", action="store_true", help="images told wrong")


def _neighbours(kinds: Any) -> None:
    parser = _kind(kinds, "neighbours", show_neighbours, "images, and the nearest by features")
    add_options(parser)
    _images(parser, 5)
    parser.add_argument("--near", type=count, default=6, metavar="N", help="each (default 6)")


def _maps(kinds: Any) -> None:
    parser = _kind(kinds, "maps", show_maps, "what a layer makes of images")
    add_options(parser)
    parser.add_argument("value", help="a value that the plan was built to --keep")
    _images(parser, 4)
    parser.add_argument("--maps", type=count, default=12, metavar="N", help="how many (default 12)")


def _kind(kinds: Any, name: str, show: object, words: str) -> ArgumentParser:
    """A subcommand with the file that it writes."""
    parser: ArgumentParser = kinds.add_parser(name, help=words, description=f"Show {words}.")
    file, default = "a picture, .svg or .png", Path(f"{name}.svg")
    parser.add_argument("-o", dest="out", type=Path, metavar="FILE", default=default, help=file)
    parser.set_defaults(show=show)
    return parser


def _images(parser: ArgumentParser, default: int) -> None:
    words = f"from all over the validation (default {default})"
    parser.add_argument("--images", type=count, default=default, metavar="N", help=words)


def _place(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def main() -> None:
    """Draw pictures of runs and of trained networks."""
    options: Namespace = _parser().parse_args()
    check_name(options.out)
    write(options.show(options), options.out)
    print(f"picture  {options.out}")


if __name__ == "__main__":
    run(main)
