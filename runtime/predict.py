"""Say what pictures show: `python -m runtime.predict plan.json CKPT image.jpg ...`.

Each is brought to the size of the plan's images as stores do it. The mean image that the network
learned with comes from `--data`; of a store only store.json and summary.safetensors are needed.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ir.command import DataError, Error, run
from ir.plan import one_line
from runtime.classifier import FEATURES, PROBABILITIES, Floats
from runtime.data.dataset import Images, Part
from runtime.data.decode import Refused, decode
from runtime.data.sources import file
from runtime.npy import write_npy
from runtime.trained import add_options, count, opened


def pictures(paths: Sequence[Path], size: int) -> Images:
    """The files as u8[n,3,size,size]. Raises DataError naming all that are refused, and why."""
    images = np.empty((len(paths), 3, size, size), np.uint8)
    refused = []
    for image, path in zip(images, paths, strict=True):
        try:
            image[...] = decode(file.read(path), size)
        except Refused as error:
            refused.append(f"{one_line(str(path))}: {error}")
    if refused:
        raise DataError("\n".join(refused))
    return images


def unlabelled(images: Images) -> Part:
    """Images whose classes are not known."""
    return Part(np.zeros(len(images), np.int32), lambda indices: images[indices])


def named(path: Path, classes: int) -> list[str]:
    """The names of a file, one on each line. Raises Error unless there is one for each class."""
    try:
        names = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise Error(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Error(f"{path}: is not UTF-8, expected a name on each line") from error
    if len(names) != classes:
        raise Error(f"{path}: {len(names)} lines, expected the names of {classes} classes")
    return names


def lines(path: Path, probabilities: Floats, names: Sequence[str], top: int) -> Iterator[str]:
    """What one picture shows, the likeliest class first."""
    yield one_line(str(path))
    for label in np.argsort(-probabilities, kind="stable")[:top]:
        yield f"{probabilities[label]:10.3%}  {one_line(names[label])}"


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m runtime.predict", description=main.__doc__)
    add_options(parser)
    add = parser.add_argument
    add("images", type=Path, nargs="+", metavar="IMAGE", help="JPEG or PNG")
    add("--top", type=count, default=5, metavar="N", help="classes to name (default 5)")
    add("--names", type=Path, metavar="FILE", help="of the classes, a line each")
    add("--features", type=Path, metavar="FILE", help="write what the last layer reads, as .npy")
    return parser.parse_args()


def main() -> None:
    """Name the likeliest classes of pictures."""
    options = _options()
    wanted = [PROBABILITIES] + [FEATURES] * bool(options.features)
    with opened(options) as network:
        classes = network.classifier.classes
        names = named(options.names, classes) if options.names else network.names()
        images = pictures(options.images, network.size)
        network.load(options.checkpoint)
        found = network.classifier.see(unlabelled(images), wanted)
    for path, probabilities in zip(options.images, found[PROBABILITIES], strict=True):
        print("\n".join(lines(path, probabilities, names, options.top)))
    if options.features:
        write_npy(options.features, found[FEATURES].astype(np.float32))


if __name__ == "__main__":
    run(main)
