"""Compile a network to a plan: `python -m frontend.alexnet | python -m codegen.build`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from codegen import devices
from codegen.assemble import Assembled, Options, assemble
from codegen.cache import Cache, default_folder
from codegen.folder import plan_path, publish
from codegen.programs import Watch
from codegen.summary import summary
from codegen.tuning.records import measured
from ir.command import run
from ir.text import read
from passes.context import PRECISIONS, positive, to_stderr
from passes.dump import dump_to, quiet


def main() -> None:
    """Compile a network: write plan.json, and plan/ beside it."""
    options = parse(main.__doc__)
    for line in summary(build(options), len(os.sched_getaffinity(0))):
        print(line)
    print(f"{'plan':12} {plan_path(options.out)}")


def build(options: argparse.Namespace) -> Assembled:
    """Compile what a command line asks for, and write the plan and its files. Raises Error."""
    binding = devices.binding(options.devices, to_stderr)
    path = plan_path(options.out)
    if options.file == "-" and sys.stdin.isatty():
        to_stderr("reading IR text from the terminal; expected a pipe, such as: frontend | build")
    network = read(options.file)
    kind = binding[0].partition(":")[0]
    target = devices.target(kind, arch=options.arch, mcpu=options.mcpu, winograd=options.winograd)
    cache = None if options.no_cache else Cache(default_folder())
    target, speeds = measured(target)
    watch = _watch(options.dump)
    keep = tuple(filter(None, options.keep.split(",")))
    chosen = Options(
        binding, target, options.accumulate, cache, watch, keep, speeds, options.precision
    )
    assembled = assemble(network, chosen)
    publish(assembled.plan, path, assembled.files)
    return assembled


def _watch(folder: str | None) -> Watch:
    return (lambda name: dump_to(Path(folder) / name)) if folder else lambda name: quiet


def parse(description: str | None, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m codegen.build",
        description=description,
        epilog="The step time printed is a prediction, not a measurement; codegen.tune betters it.",
    )
    add = parser.add_argument
    add("file", nargs="?", default="-", help="IR text; - (default) is stdin")
    add("-o", dest="out", metavar="PATH", default="plan.json", help="a folder, or a file plan.json")
    add(
        "--devices", metavar="NAMES", help="such as cuda:0,cuda:1 (default: GPUs, else cpu:0,cpu:1)"
    )
    add("--arch", metavar="NAMES", help="of GPUs, such as sm_80,sm_90a (default: those here)")
    add("--accumulate", type=positive, default=1, metavar="N", help="batches per update")
    add("--precision", choices=PRECISIONS, default="fp32", help="of contractions (default fp32)")
    add("--keep", metavar="NAMES", default="", help="values that evaluate puts out, too")
    add("--dump", metavar="DIR", help="write what every pass made")
    devices.add_accuracy(parser)
    add("--no-cache", action="store_true", help="compile every kernel afresh")
    add("--mcpu", metavar="NAME", default="", help="LLVM's processor name (default: this one's)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(main)
