"""A program as graphviz text: a cluster per device, dashed transfers, bytes on the edges.

Forward runs down. Backward edges are handed to graphviz reversed, with their arrows at the other
end, so backward climbs beside forward and each gradient stands near what it is the gradient of.
`python -m ir.dot < a.ir` is a filter; `--svg` draws instead of writing text.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ir.command import Error, read_source, run
from ir.drawing import BESIDE, Box, Drawing, Edge, Lane, Line, draw
from ir.drawing.grouping import Detail, Role
from ir.drawing.label import markup
from ir.drawing.paint import GROUND, PAINTS, QUIET, TRANSFER
from ir.graph import Graph
from ir.svg import print_svg
from ir.text import parse

MOST_FOR_GRAPHVIZ = 600
"""Beyond this many boxes graphviz may take minutes, and our own drawing takes over."""

_SPACE = "&#160;&#160;"
_FONT = 'fontname="Helvetica,Arial,sans-serif"'


def to_dot(graph: Graph, detail: Detail | None = None, weights: bool = False) -> str:
    """The graphviz text of a program."""
    return print_dot(draw(graph, detail, weights))


def print_dot(drawing: Drawing) -> str:
    """The graphviz text of a drawing."""
    return "\n".join(["digraph {", *(f"  {line}" for line in _body(drawing)), "}"]) + "\n"


def _body(drawing: Drawing) -> Iterator[str]:
    yield f"graph [{_FONT} rankdir=TB ranksep=0.4 nodesep=0.2 labelloc=t label={_head(drawing)}]"
    yield f"node [{_FONT} fontsize=10 shape=plain]"
    yield f'edge [{_FONT} fontsize=8 fontcolor="{QUIET}" arrowsize=0.6]'
    for lane in drawing.lanes:
        yield from _lane(drawing, lane)
    for edge in drawing.edges:
        yield _edge(drawing, edge)
    for alone in drawing.alone:
        for upper, lower in zip(alone, alone[BESIDE:], strict=False):
            yield f"{_key(upper)} -> {_key(lower)} [style=invis]"


def _head(drawing: Drawing) -> str:
    legend = "".join(
        f'<TD BGCOLOR="{paint.fill}">{markup(name)}</TD>' for name, paint in drawing.paints.items()
    )
    if any(edge.transfer for edge in drawing.edges):
        legend += f'<TD><FONT COLOR="{TRANSFER}">- - transfer</FONT></TD>'
    title = f"<B>{markup(drawing.title)}</B>: {markup(drawing.subtitle)}"
    return (
        f'<<TABLE BORDER="0"><TR><TD>{title}</TD></TR><TR><TD>'
        f'<TABLE BORDER="0" CELLSPACING="6" CELLPADDING="4"><TR>{legend or "<TD></TD>"}</TR>'
        "</TABLE></TD></TR></TABLE>>"
    )


def _lane(drawing: Drawing, lane: Lane) -> Iterator[str]:
    boxes = [f"{_key(place)} {_box(drawing.boxes[place])}" for place in lane.boxes]
    if lane.device is None:
        yield from boxes
        return
    yield f"subgraph cluster_{lane.device} {{"
    yield f'  graph [label={_quoted(lane.title)} labeljust=l color="#c8c8c8" bgcolor="{GROUND}"]'
    yield from (f"  {box}" for box in boxes)
    yield "}"


def _key(place: int) -> str:
    return f"n{place}"


def _box(box: Box) -> str:
    rows = "".join(
        f'<TR><TD ALIGN="LEFT" BGCOLOR="{PAINTS[line.role].fill}">{_words(line)}</TD></TR>'
        for line in box.lines
    )
    table = f'<TABLE BORDER="1" COLOR="{box.paint.stroke}" CELLBORDER="0" CELLSPACING="0">'
    return f"[label=<{table}{rows}</TABLE>> tooltip={_quoted(box.tip)}]"


def _words(line: Line) -> str:
    quiet = f'<FONT COLOR="#555555">{markup(line.text)}</FONT>'
    name = f"{markup(line.name)}{_SPACE}" if line.name else ""
    return f"{name}{quiet}{_SPACE}"  # graphviz takes text for narrower than some fonts are


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _edge(drawing: Drawing, edge: Edge) -> str:
    source, target = drawing.boxes[edge.source], drawing.boxes[edge.target]
    words = [f'label="{edge.label}"']
    if edge.transfer:
        words += ["style=dashed", "penwidth=1.6", f'color="{TRANSFER}"', f'fontcolor="{TRANSFER}"']
    else:
        words.append(f'color="{source.paint.stroke}"')
    ends = [_key(edge.source), _key(edge.target)]
    if source.role is not Role.FORWARD and target.role is not Role.FORWARD:
        ends.reverse()
        words.append("dir=back")
    return f"{' -> '.join(ends)} [{' '.join(words)}]"


# ---------------------------------------------------------------------------- command


def to_svg(drawing: Drawing, own: bool = False) -> str:
    """The drawing as SVG: graphviz's where it is installed and up to it, else our own."""
    dot = shutil.which("dot")
    if own or dot is None or len(drawing.boxes) > MOST_FOR_GRAPHVIZ:
        return print_svg(drawing)
    text = print_dot(drawing).encode()
    done = subprocess.run([dot, "-Tsvg"], input=text, capture_output=True, check=False)
    if done.returncode:
        # Some versions lose their way between many boxes.
        print(f"{dot} failed, drawing without it", file=sys.stderr)
        return print_svg(drawing)
    return done.stdout.decode()


def main() -> None:
    """Draw a program: graphviz text on stdout, or SVG."""
    parser = argparse.ArgumentParser(prog="python -m ir.dot", description=main.__doc__)
    add = parser.add_argument
    add("file", nargs="?", default="-", help="IR text; - (default) is stdin")
    add("--svg", nargs="?", const="-", metavar="FILE", help="SVG instead, to a file or stdout")
    add("--own", action="store_true", help="do not use graphviz even where it is installed")
    add("--weights", action="store_true", help="show parameters, states and scalars as boxes too")
    detail = parser.add_mutually_exclusive_group()
    for each, words in _DETAILS.items():
        set_it = {"action": "store_const", "const": each, "dest": "detail"}
        detail.add_argument(f"--{each.value}", help=words, **set_it)  # type: ignore[arg-type]
    options = parser.parse_args()
    if options.svg is not None and not (options.svg == "-" or options.svg.endswith(".svg")):
        raise Error(f"--svg {options.svg}: expected a name ending in .svg")
    drawing = draw(parse(*read_source(options.file)), options.detail, options.weights)
    if options.svg is None:
        sys.stdout.write(print_dot(drawing))
    elif options.svg == "-":
        sys.stdout.write(to_svg(drawing, options.own))
    else:
        _save(options.svg, to_svg(drawing, options.own))


_DETAILS = {
    Detail.NODES: "a box for every node",
    Detail.CHAINS: "a box for an op and what follows it element by element",
    Detail.REGIONS: "a box for every region (the default where there are any)",
}


def _save(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Error(f"{path}: cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    run(main)
