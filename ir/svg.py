"""Our own drawing of a program as SVG, for machines without graphviz: see `ir/drawing/page.py`."""

from collections.abc import Iterator

from ir.drawing import Box, Drawing, Edge
from ir.drawing.columns import FONT, LEADING, MARGIN, NAME_GAP, PADDING
from ir.drawing.label import markup, text_width
from ir.drawing.page import Label, Page, Rect, page_of
from ir.drawing.paint import GROUND, PAINTS, QUIET, TRANSFER

TITLE, SMALL = 16.0, 9.0
HEAD, LANE_HEAD = 78.0, 26.0
"""Heights of the page's head, which holds title and legend, and of a lane's."""

_STYLE = f"""
text {{ font: {FONT:g}px Helvetica, Arial, 'Liberation Sans', sans-serif; \
fill: #444 }}
.title {{ font-size: {TITLE:g}px; font-weight: 600; fill: #111 }}
.name {{ font-weight: 600; fill: #111 }}
.lane {{ fill: {GROUND}; stroke: #ccc }}
.edge {{ fill: none; stroke-width: 1.1 }}
.transfer {{ stroke: {TRANSFER}; stroke-width: 1.8; stroke-dasharray: 6 4 }}
.bytes {{ font-size: {SMALL:g}px; fill: {QUIET} }}
.sent {{ font-size: {SMALL:g}px; font-weight: 600; fill: {TRANSFER} }}
.middle {{ text-anchor: middle }}
.clear {{ fill: {GROUND} }}
"""


def print_svg(drawing: Drawing) -> str:
    """The SVG text of a drawing."""
    page = page_of(drawing, HEAD + LANE_HEAD)
    right = max([frame[1] for frame in page.frames] + [_head_width(drawing)])
    width, height = right + MARGIN, page.bottom + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<style>{_STYLE}</style>",
        *_markers(),
        '<rect width="100%" height="100%" fill="white"/>',
        *_head(drawing),
        *_lanes(drawing, page),
        *_edges(drawing, page),
        *(
            line
            for box, rect in zip(drawing.boxes, page.rects, strict=True)
            for line in _box(box, rect)
        ),
        *_labels(drawing, page),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{attribute}>{markup(text)}</text>'


def _markers() -> Iterator[str]:
    colours = [("transfer", TRANSFER), *((_tint(role), p.stroke) for role, p in PAINTS.items())]
    for name, colour in colours:
        yield (
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
            f'<path d="M0,0.8L8,4L0,7.2z" fill="{colour}"/></marker>'
        )


def _tint(role: object) -> str:
    return getattr(role, "value", "leaf")


# ---------------------------------------------------------------------------- head and lanes


def _head(drawing: Drawing) -> Iterator[str]:
    yield _text(MARGIN, 32, drawing.title, "title")
    yield _text(MARGIN + text_width(drawing.title, TITLE, bold=True) + 10, 32, drawing.subtitle)
    x = MARGIN
    for name, paint in drawing.paints.items():
        yield (
            f'<rect x="{x:.1f}" y="48" width="16" height="12" rx="2" fill="{paint.fill}" '
            f'stroke="{paint.stroke}"/>'
        )
        yield _text(x + 22, 58, name)
        x += 44 + text_width(name, FONT)
    if any(edge.transfer for edge in drawing.edges):
        yield f'<path d="M{x:.1f},54h30" class="edge transfer" marker-end="url(#transfer)"/>'
        yield _text(x + 36, 58, "transfer")


def _head_width(drawing: Drawing) -> float:
    title = text_width(drawing.title, TITLE, bold=True) + 10 + text_width(drawing.subtitle, FONT)
    legend = sum(44 + text_width(name, FONT) for name in [*drawing.paints, "transfer"]) + 14
    return MARGIN + max(title, legend)


def _lanes(drawing: Drawing, page: Page) -> Iterator[str]:
    for lane, (left, right) in zip(drawing.lanes, page.frames, strict=True):
        height = page.bottom - HEAD
        yield (
            f'<rect x="{left:.1f}" y="{HEAD:.1f}" width="{right - left:.1f}" '
            f'height="{height:.1f}" rx="6" class="lane"/>'
        )
        yield _text(left + 12, HEAD + 20, lane.title, "name")


# ---------------------------------------------------------------------------- boxes and edges


def _box(box: Box, rect: Rect) -> Iterator[str]:
    yield (
        f'<g class="box"><title>{markup(box.tip)}</title><rect x="{rect.x:.1f}" y="{rect.y:.1f}" '
        f'width="{rect.width:.1f}" height="{rect.height:.1f}" rx="3" fill="{box.paint.fill}" '
        f'stroke="{box.paint.stroke}"/>'
    )
    y = rect.y + PADDING / 2
    for line in box.lines:
        paint = PAINTS[line.role]
        if paint != box.paint:
            yield (
                f'<rect x="{rect.x + 1:.1f}" y="{y:.1f}" width="{rect.width - 2:.1f}" '
                f'height="{LEADING:.1f}" fill="{paint.fill}"/>'
            )
        x = rect.x + PADDING
        if line.name:
            yield (
                f'<text x="{x:.1f}" y="{y + 11:.1f}"><tspan class="name">{markup(line.name)}'
                f'</tspan><tspan dx="{NAME_GAP:g}">{markup(line.text)}</tspan></text>'
            )
        else:
            yield _text(x, y + 11, line.text)
        y += LEADING
    yield "</g>"


def _edges(drawing: Drawing, page: Page) -> Iterator[str]:
    """Transfers last, above the others."""
    edges = zip(drawing.edges, page.routes, strict=True)
    for edge, route in sorted(edges, key=lambda pair: pair[0].transfer):
        ends = f'data-edge="{edge.source} {edge.target}"'
        source = drawing.boxes[edge.source]
        if edge.transfer:
            look = 'class="edge transfer" marker-end="url(#transfer)"'
        else:
            tint = "leaf" if source.is_leaf else _tint(source.role)
            look = f'class="edge" stroke="{source.paint.stroke}" marker-end="url(#{tint})"'
        yield f'<path d="{route.path}" {ends} {look}/>'


def _labels(drawing: Drawing, page: Page) -> Iterator[str]:
    for edge, route in zip(drawing.edges, page.routes, strict=True):
        if route.label is not None:
            yield from _label(edge, route.label)


def _label(edge: Edge, label: Label) -> Iterator[str]:
    kind = "sent" if edge.transfer else "bytes"
    if not label.on_line:
        yield _text(label.x, label.y, edge.label, kind)
        return
    width = text_width(edge.label, SMALL, bold=edge.transfer) + 6
    yield (
        f'<rect x="{label.x - width / 2:.1f}" y="{label.y - 6:.1f}" width="{width:.1f}" '
        'height="12" class="clear"/>'
    )
    yield _text(label.x, label.y + 3.3, edge.label, f"{kind} middle")
