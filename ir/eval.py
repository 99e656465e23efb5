"""The oracle: run a program with NumPy, in float64 or float32.

What this computes is what a program means; every pass and kernel is measured against it. Feeds
and results go by logical names: a piece of a parameter takes its part of the fed tensor, and
pieces are put together again in the results. bf16 values are rounded after every node, whatever
the working precision; a bf16 copy of a parameter is made from what that one is fed.

`python -m ir.eval FILE` runs a small program on seeded random feeds and prints its results.
"""

import argparse
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt
from numpy.lib.format import write_array

from ir.command import Error, read_source, run
from ir.graph import Graph, Node, Pair
from ir.leaf import copied, fed_name, logical_name, logical_shape, piece
from ir.op import Absent, Array
from ir.ops import row_of
from ir.ops.precision import rounded
from ir.plan import write_whole
from ir.text import parse
from ir.type import DType, IRError, TensorType

Float = type[np.float64] | type[np.float32]
Feeds = Mapping[str, npt.ArrayLike]


@dataclass(frozen=True)
class Results:
    """What a run gives, by logical name."""

    outputs: dict[str, Array]
    gradients: dict[str, Array]
    updates: dict[str, Array]


def run_graph(graph: Graph, feeds: Feeds, precision: Float = np.float64) -> Results:
    """Run a program. Raises IRError for a feed that is missing or has the wrong shape."""
    values: dict[Node, Array] = {}
    last_use = _last_uses(graph)
    for place, node in enumerate(graph.nodes):
        values[node] = _value(node, [values[i] for i in node.inputs], feeds, precision)
        for operand in {*node.inputs, node}:
            if last_use[operand] == place:
                del values[operand]
    return Results(
        {node.name: values[node] for node in graph.outputs},
        _assemble(graph.gradients, values),
        _assemble(graph.updates, values),
    )


def _last_uses(graph: Graph) -> dict[Node, int]:
    last = {}
    for place, node in enumerate(graph.nodes):
        last.update(dict.fromkeys((node, *node.inputs), place))
    last.update(dict.fromkeys(graph.results, len(graph.nodes)))
    return last


def _value(node: Node, inputs: list[Array], feeds: Feeds, precision: Float) -> Array:
    row = row_of(node)
    if isinstance(row.reference, Absent):
        value = _fed(node, feeds)
    else:
        try:
            value = row.reference(*inputs, **node.attrs)
        except IRError as error:
            raise IRError(f"in '{node.name}': {error}") from None
    if row.is_leaf and node.op == "constant":
        value = np.broadcast_to(value, node.type.shape)
    return in_type(value, node.type, precision)


def in_type(value: Array, type: TensorType, precision: Float) -> Array:
    """A value as the oracle holds a tensor of this type."""
    if not type.dtype.is_float:
        return value.astype(_INTEGERS[type.dtype], copy=False)
    held = np.asarray(value, dtype=precision)
    return rounded(held, "bf16") if type.dtype is DType.BF16 else held


_INTEGERS: dict[DType, type[np.integer[Any]]] = {
    DType.U8: np.uint8,
    DType.I32: np.int32,
    DType.U32: np.uint32,
}


# ---------------------------------------------------------------------------- logical tensors


def _fed(leaf: Node, feeds: Feeds) -> Array:
    name = fed_name(leaf)
    if name not in feeds:
        raise IRError(f"nothing is fed for '{name}', expected an array for {leaf.type}")
    whole = np.asarray(feeds[name])
    if whole.dtype.kind not in "biuf":
        raise IRError(f"'{name}' is fed elements of type {whole.dtype}, expected numbers")
    if whole.shape != logical_shape(leaf):
        raise IRError(
            f"'{name}' is fed shape {list(whole.shape)}, expected {list(logical_shape(leaf))}"
        )
    value = whole[piece(leaf)]
    if not leaf.type.dtype.is_float:
        _require_integers(name, value, leaf)
    return value


def _require_integers(name: str, value: Array, leaf: Node) -> None:
    limits = np.iinfo(_INTEGERS[leaf.type.dtype])
    below = int(leaf.attrs.get("below", 0))  # type: ignore[arg-type]
    least, most = (0, below - 1) if below else (limits.min, limits.max)
    if not ((value >= least) & (value <= most) & (value == np.floor(value))).all():
        raise IRError(
            f"'{name}' is fed other numbers than the integers expected, {least} to {most}"
        )


def _assemble(pairs: tuple[Pair, ...], values: Mapping[Node, Array]) -> dict[str, Array]:
    whole: dict[str, Array] = {}
    for pair in pairs:
        value = values[pair.value]
        shape = logical_shape(pair.leaf)
        target = whole.setdefault(logical_name(pair.leaf), np.zeros(shape, value.dtype))
        target[piece(pair.leaf)] = value
    return whole


# ---------------------------------------------------------------------------- random feeds


def random_feeds(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Seeded feeds for every leaf but copies: parameters as they begin, inputs at random."""
    random = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for leaf in graph.leaves("input", "param", "state"):
        name = logical_name(leaf)
        if name not in feeds and not copied(leaf):
            feeds[name] = _random_feed(leaf, random)
    return feeds


def _random_feed(leaf: Node, random: np.random.Generator) -> Array:
    shape, dtype = logical_shape(leaf), leaf.type.dtype
    if leaf.op != "input":
        noise = random.standard_normal(shape) * float(leaf.attrs.get("std", 0.0))  # type: ignore[arg-type]
        return np.asarray(float(leaf.attrs["value"]) + noise)  # type: ignore[arg-type]
    if dtype.is_float:
        return np.asarray(random.uniform(0.25, 1.0, shape))
    below = leaf.attrs["below"] or (256 if dtype is DType.U8 else 2)
    return random.integers(0, below, shape).astype(_INTEGERS[dtype])  # type: ignore[arg-type]


# ---------------------------------------------------------------------------- command


def _describe(name: str, value: Array) -> str:
    if value.size <= 8:
        numbers = " ".join(f"{x:.9g}" for x in value.ravel())
        return f"{name:32} {list(value.shape)!s:20} {numbers}"
    spread = f"min {value.min():.6g}  mean {value.mean():.6g}  max {value.max():.6g}"
    return f"{name:32} {list(value.shape)!s:20} {spread}"


def main() -> None:
    """Run a program with NumPy on seeded random feeds, or on those of an .npz file."""
    parser = argparse.ArgumentParser(prog="python -m ir.eval", description=main.__doc__)
    parser.add_argument("file", nargs="?", default="-", help="IR text; - (default) is stdin")
    parser.add_argument("--seed", type=_seed, default=0, help="of the random feeds (default 0)")
    parser.add_argument("--feeds", metavar="NPZ", help="arrays by logical name; the rest random")
    parser.add_argument("--save", metavar="NPZ", help="write the results to a file")
    parser.add_argument("--float32", action="store_true", help="compute in float32, not float64")
    options = parser.parse_args()
    graph = parse(*read_source(options.file))
    feeds = random_feeds(graph, options.seed)
    if options.feeds:
        feeds.update(_load(options.feeds, feeds))
    results = run_graph(graph, feeds, np.float32 if options.float32 else np.float64)
    named = dict(results.outputs)
    named.update({f"gradient {name}": v for name, v in results.gradients.items()})
    named.update({f"update {name}": v for name, v in results.updates.items()})
    for name, value in named.items():
        sys.stdout.write(_describe(name, value) + "\n")
    if options.save:
        _save(options.save, named)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed, expected an integer >= 0")
    return int(text)


def _load(path: str, known: Mapping[str, Array]) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            loaded = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise Error(f"{path}: not an .npz file of arrays: {error}") from error
    for name in loaded:
        if name not in known:
            raise Error(f"{path}: '{name}' is no leaf, expected one of {', '.join(known)}")
    return loaded


def _save(path: str, named: Mapping[str, Array]) -> None:
    values = {name.replace(" ", "."): value for name, value in named.items()}
    if len(values) < len(named):
        raise Error(f"{path}: two results have one name there; expected other names of outputs")
    content = BytesIO()
    with ZipFile(content, "w") as archive:
        for name, value in values.items():
            with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                write_array(member, value, allow_pickle=False)
    try:
        write_whole(Path(path), [content.getvalue()])
    except OSError as error:
        raise Error(f"{path}: cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    run(main)
