"""Run passes over a program: `python -m passes split,place,transfer < a.ir > b.ir`."""

import argparse
import sys
from pathlib import Path

from ir.command import run
from ir.printer import print_graph
from ir.text import read
from ir.type import IRError
from passes.context import PRECISIONS, Context, positive, to_stderr
from passes.dump import dump_to, quiet
from passes.pipeline import ACCUMULATE, APPLY, EVALUATE, PASSES, TRAIN, run_passes

PROGRAMS = {"train": TRAIN, "evaluate": EVALUATE, "accumulate": ACCUMULATE, "apply": APPLY}


def main() -> None:
    """Take a program through passes, by default all that a training step needs."""
    options = _options()
    context = Context(options.devices, options.precision, options.accumulate, to_stderr)
    names = _names(options)
    watch = dump_to(Path(options.dump)) if options.dump else quiet
    sys.stdout.write(print_graph(run_passes(read(options.file), names, context, watch)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m passes", description=main.__doc__)
    add = parser.add_argument
    add("passes", nargs="?", help=f"comma-separated: {', '.join(PASSES)}")
    add("file", nargs="?", default="-", help="IR text; - (default) is stdin")
    add("--program", choices=PROGRAMS, default="train", help="which list to run by default")
    add("--until", choices=PASSES, help="stop after this pass")
    add("--devices", type=positive, default=2, help="logical devices (default 2)")
    add("--precision", choices=PRECISIONS, default="fp32", help="of contractions (default fp32)")
    add("--accumulate", type=positive, default=1, help="batches per update, for the pass apply")
    add("--dump", metavar="DIR", help="write NN-pass.ir and NN-pass.dot after each pass")
    return parser.parse_args()


def _names(options: argparse.Namespace) -> tuple[str, ...]:
    names = tuple(options.passes.split(",")) if options.passes else PROGRAMS[options.program]
    if options.until is None:
        return names
    if options.until not in names:
        raise IRError(f"--until {options.until} is not among the passes {', '.join(names)}")
    return names[: names.index(options.until) + 1]


if __name__ == "__main__":
    run(main)
