"""A canvas as SVG text that needs no other file."""

import base64
from io import BytesIO
from xml.sax.saxutils import escape

import PIL.Image

from runtime.pictures.canvas import Canvas, Image, Line, Rectangle, Shape, Text


def svg(canvas: Canvas) -> str:
    """The text of the file."""
    size = f'width="{canvas.width:g}" height="{canvas.height:g}"'
    view = f'viewBox="0 0 {canvas.width:g} {canvas.height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view} font-family="sans-serif">'
    page = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([head, page, *map(_element, canvas.shapes), "</svg>\n"])


def _element(shape: Shape) -> str:
    match shape:
        case Rectangle():
            return f'<rect {_box(shape)} fill="{shape.fill}"/>'
        case Line():
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
            stroke = f'stroke="{shape.colour}" stroke-width="{shape.width:g}"'
            return f'<polyline points="{points}" fill="none" {stroke}/>'
        case Text():
            place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" text-anchor="{shape.anchor}"'
            style = f'font-size="{shape.size:g}" fill="{shape.colour}"'
            return f"<text {place} {style}>{escape(shape.words)}</text>"
        case Image():
            style = 'preserveAspectRatio="none" style="image-rendering:pixelated"'
            return f'<image {_box(shape)} {style} href="{_link(shape)}"/>'


def _box(shape: Rectangle | Image) -> str:
    place = f'x="{shape.x:.1f}" y="{shape.y:.1f}"'
    return f'{place} width="{shape.width:.1f}" height="{shape.height:.1f}"'


def _link(shape: Image) -> str:
    """The pixels, enlarged here since not every viewer leaves their edges sharp."""
    rows, columns = shape.pixels.shape[:2]
    tall, wide = round(2 * shape.height / rows) or 1, round(2 * shape.width / columns) or 1
    data = BytesIO()
    PIL.Image.fromarray(shape.pixels.repeat(tall, axis=0).repeat(wide, axis=1)).save(data, "png")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
