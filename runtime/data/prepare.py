"""Turn a source into a store: `python -m runtime.data.prepare SOURCE DEST`.

SOURCE is a folder of class folders (or of `train` and `val` with these inside), a list file, or a
folder with ILSVRC's archives, with CIFAR-10's binary files, or with `train.txt` and `val.txt`.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ir.command import DataError, run
from ir.plan import one_line
from runtime.data import sources
from runtime.data.sources import hashes
from runtime.data.sources.split import split
from runtime.data.store.attempt import Choices, Content
from runtime.data.store.manifest import PARTS, Manifest
from runtime.data.store.preparation import prepare
from runtime.data.workers import cores

COMPARED = "Every file taken in has the hash that was expected of it."
INVISIBLE = (
    "Damage that leaves a picture which can be decoded cannot be seen without hashes of the\n"
    "source: make them of files known to be good with --write-hashes, compare with --hashes."
)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m runtime.data.prepare", description=__doc__)
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="what to take images from")
    add("dest", type=Path, metavar="DEST", help="the store's folder; an unfinished one goes on")
    add("--size", type=_count, metavar="N", help="of images (default 256; of records, their own)")
    add("--validation", type=_share, default=0.1, metavar="SHARE", help=_SHARE)
    add("--seed", type=_seed, default=0, metavar="N", help="of the one shuffle (default 0)")
    add("--on-error", choices=("fail", "skip"), default="fail", help=_ON_ERROR)
    add("--hashes", type=Path, metavar="FILE", help="compare image files, as sha256sum writes them")
    add("--write-hashes", type=Path, metavar="FILE", help="write those of the images taken in")
    add("--workers", type=_count, default=cores(), metavar="N", help="processes (default: cores)")
    return parser.parse_args(arguments)


_SHARE = "of each class, where the source has no validation part (default 0.1)"
_ON_ERROR = "a bad image ends the command (default), or is reported and left out"


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 4096:
        raise argparse.ArgumentTypeError(f"{text} is not in 1 ... 4096")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not in 0 ... {2**32 - 1}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0 < value < 1):
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _content(options: argparse.Namespace, source: sources.Source) -> Content:
    """What to prepare, with the hashes to compare it with."""
    parts = split(source, options.validation, options.seed)
    for part in PARTS:
        if not len(parts[part]):
            raise DataError(f"{options.source}: has no image for {part}")
    content = Content(source.about, source.classes, source.pixels, parts)
    if not options.hashes:
        return content
    found, unknown = hashes.read(options.hashes, [parts[part] for part in PARTS])
    if unknown and options.on_error == "fail":
        raise DataError(f"{one_line(unknown[0])}: is in {options.hashes}, but not in the source")
    return replace(content, expected=dict(zip(PARTS, found, strict=True)), unknown=unknown)


def _report(manifest: Manifest, dest: Path) -> Iterator[str]:
    """What was made, and everything that was left out with the reason."""
    size = manifest.size
    yield f"store       {dest}: {manifest.source}, {len(manifest.classes)} classes, {size}x{size}"
    for part in PARTS:
        yield f"{part:<11} {manifest.count(part)} images"
    yield f"left out    {len(manifest.left_out)}"
    for each in manifest.left_out:
        yield f"  {one_line(each.name)}: {each.reason}"
    yield COMPARED if manifest.hashed else INVISIBLE


def main() -> None:
    """Turn a source into a store."""
    options = _options(None)
    source = sources.opened(options.source)
    choices = Choices(
        size=options.size or source.size, seed=options.seed, skip=options.on_error == "skip"
    )
    manifest, parts = prepare(options.dest, _content(options, source), choices, options.workers)
    if options.write_hashes:
        hashes.write(options.write_hashes, (pair for p in parts.values() for pair in p.hashed()))
    print("\n".join(_report(manifest, options.dest)))


if __name__ == "__main__":
    run(main)
