"""Writing a canvas to a file, in the format that its name ends in."""

from io import BytesIO
from pathlib import Path

from ir.command import Error
from ir.plan import write_whole
from runtime.pictures.canvas import Canvas
from runtime.pictures.png import png
from runtime.pictures.svg import svg


def check_name(path: Path) -> Path:
    """The path itself. Raises Error unless it names a picture."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise Error(f"{path}: expected a name that ends in .svg or .png")
    return path


def write(canvas: Canvas, path: Path) -> None:
    """Write a picture whole or not at all. Raises Error."""
    check_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [_content(canvas, path.suffix.lower())])
    except OSError as error:
        raise Error(f"{path}: cannot be written: {error.strerror}") from error


def _content(canvas: Canvas, suffix: str) -> bytes:
    if suffix == ".svg":
        return svg(canvas).encode()
    data = BytesIO()
    png(canvas).save(data, "png")
    return data.getvalue()
