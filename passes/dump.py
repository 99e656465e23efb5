"""What the passes made, one file after each."""

from pathlib import Path

from ir.command import Error
from ir.dot import to_dot
from ir.graph import Graph
from ir.printer import print_graph
from passes.context import to_stderr
from passes.pipeline import Watcher


def quiet(place: int, name: str, graph: Graph, seconds: float) -> None:
    """A watcher that does nothing."""


def dump_to(folder: Path) -> Watcher:
    """Write each pass's result, and say how long it took."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"{folder}: cannot be made: {error.strerror}") from error

    def watch(place: int, name: str, graph: Graph, seconds: float) -> None:
        stem = folder / f"{place:02}-{name}"
        try:
            stem.with_suffix(".ir").write_text(print_graph(graph))
            stem.with_suffix(".dot").write_text(to_dot(graph))
        except OSError as error:
            raise Error(f"{stem}: cannot be written: {error.strerror}") from error
        to_stderr(f"{place:2} {name:10} {len(graph.nodes):6} nodes  {seconds * 1e3:8.1f} ms")

    return watch
