"""A canvas as pixels, by Pillow and the font that it carries."""

import PIL.Image
from PIL import ImageDraw, ImageFont

from runtime.pictures.canvas import WHITE, Canvas, Image, Line, Rectangle, Shape, Text

SCALE = 2  # pixels of the file for each of the canvas, so that small print stays legible
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png(canvas: Canvas) -> PIL.Image.Image:
    """The picture."""
    size = round(canvas.width * SCALE), round(canvas.height * SCALE)
    page = PIL.Image.new("RGB", size, WHITE)
    for shape in canvas.shapes:
        _draw(shape, page)
    return page


def _draw(shape: Shape, page: PIL.Image.Image) -> None:
    draw = ImageDraw.Draw(page)
    match shape:
        case Rectangle():
            left, upper, right, lower = _box(shape)
            if right > left and lower > upper:
                draw.rectangle((left, upper, right - 1, lower - 1), fill=shape.fill)
        case Line():
            points = [(x * SCALE, y * SCALE) for x, y in shape.points]
            draw.line(points, fill=shape.colour, width=max(1, round(shape.width * SCALE)))
        case Text():
            font = ImageFont.load_default(shape.size * SCALE)
            place, anchor = (shape.x * SCALE, shape.y * SCALE), _ANCHORS[shape.anchor]
            draw.text(place, shape.words, fill=shape.colour, font=font, anchor=anchor)
        case Image():
            left, upper, right, lower = _box(shape)
            size = max(1, right - left), max(1, lower - upper)
            enlarged = PIL.Image.fromarray(shape.pixels).resize(size, PIL.Image.Resampling.NEAREST)
            page.paste(enlarged, (left, upper))


def _box(shape: Rectangle | Image) -> tuple[int, int, int, int]:
    x, y = shape.x * SCALE, shape.y * SCALE
    return round(x), round(y), round(x + shape.width * SCALE), round(y + shape.height * SCALE)
