"""Compile a network to a plan: `python -m frontend.alexnet | python -m codegen.build`."""

import argparse
import os
import sys
from pathlib import Path

from codegen.assemble import Options, assemble
from codegen.cache import Cache, default_folder
from codegen.folder import plan_path, publish
from codegen.programs import Watch
from codegen.summary import BYTES, FLOPS, summary
from ir.command import Error, run
from ir.text import read
from passes.context import MOST, positive, to_stderr
from passes.dump import dump_to, quiet


def main() -> None:
    """Compile a network: write plan.json, and plan/ beside it."""
    options = _options()
    binding = _binding(options.devices)
    path = plan_path(options.out)
    if options.file == "-" and sys.stdin.isatty():
        to_stderr("reading IR text from the terminal; expected a pipe, such as: frontend | build")
    network = read(options.file)
    # It imports the compiler, which takes a second.
    from codegen.targets import cpu

    cache = None if options.no_cache else Cache(default_folder())
    wanted = Options(
        binding,
        cpu(options.mcpu, exact=options.exact),
        options.accumulate,
        cache,
        _watch(options.dump),
    )
    assembled = assemble(network, wanted)
    publish(assembled.plan, path, assembled.files)
    for line in summary(assembled, len(os.sched_getaffinity(0))):
        print(line)
    print(f"{'plan':12} {path}")


def _binding(text: str) -> tuple[str, ...]:
    """The physical device of each logical one. Raises Error for one that is not supported."""
    names = tuple(text.split(","))
    for name in names:
        kind, colon, index = name.partition(":")
        if kind != "cpu" or not colon or not index.isdecimal() or int(index) >= MOST:
            raise Error(f"--devices: '{name}' is not supported; expected cpu:0 to cpu:{MOST - 1}")
    if len(names) > MOST:
        raise Error(f"--devices: {len(names)} devices, expected at most {MOST}")
    return names


def _watch(folder: str | None) -> Watch:
    return (lambda name: dump_to(Path(folder) / name)) if folder else lambda name: quiet


def _options() -> argparse.Namespace:
    speeds = f"{FLOPS / 1e9:.0f} GFLOP/s and {BYTES / 1e9:.0f} GB/s for each core"
    parser = argparse.ArgumentParser(
        prog="python -m codegen.build",
        description=main.__doc__,
        epilog=f"The step time printed is a prediction, from {speeds}, not a measurement.",
    )
    add = parser.add_argument
    add("file", nargs="?", default="-", help="IR text; - (default) is stdin")
    add("-o", dest="out", metavar="PATH", default="plan.json", help="a folder, or a file plan.json")
    add("--devices", metavar="NAMES", default="cpu:0,cpu:1", help="one name per logical device")
    add("--accumulate", type=positive, default=1, metavar="N", help="batches per update")
    add("--dump", metavar="DIR", help="write what every pass made")
    add("--exact", action="store_true", help="no kernels that trade accuracy for speed")
    add("--no-cache", action="store_true", help="compile every kernel afresh")
    add("--mcpu", metavar="NAME", default="", help="LLVM's processor name (default: this one's)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
