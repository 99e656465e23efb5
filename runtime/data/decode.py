"""An image file as pixels, or the reason why it is refused; nothing that is broken is mended.

Taken are JPEG and PNG, turned as EXIF says (EXIF that cannot be read is ignored). Grey becomes
three equal colours; of 16 bits the upper 8 count; what is transparent shows white; CMYK goes
through Pillow's formula, without a profile. Of a JPEG of several pictures the first is taken.
"""

import re
import warnings
from io import BytesIO
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ir.command import DataError
from ir.plan import one_line
from runtime.data.resize import Pixels, square

MOST_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG")

_FILLER = b"\x5a" * 64  # bits of an entropy-coded scan that say something for most code tables
_MARKER = re.compile(rb"\xff+(?=[\x01-\xfe])")  # behind a scan's data; FF 00 belongs to the data
_SCAN = 0xDA
_MOST_GREY: dict[object, int] = {"L;2": 3, "L;4": 15}  # by how a PNG stores what Pillow makes 255


class Refused(DataError):
    """Why an image cannot be used; its name is for the caller to add."""


def decode(data: bytes, size: int) -> Pixels:
    """The middle of an image file as u8[3,size,size], its shorter side brought to `size`.

    Raises Refused for anything but one whole, still image of at most 64 million pixels.
    """
    pixels = square(_colours(_upright(_loaded(data))), size)
    if len(pixels) == 3:
        return pixels
    through = 255 - pixels[3]
    white: Pixels = np.minimum(pixels[:3], 255 - through) + through
    return white


def _loaded(data: bytes) -> Image.Image:
    if not data:
        raise Refused("is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about EXIF and palettes; damage raises
            if data.startswith(b"\x89PNG"):
                Image.open(BytesIO(data), formats=FORMATS).verify()  # its checksums
            image = _opened(data)
            starved = data.startswith(b"\xff\xd8") and _doubtful(image) and _starved(data, image)
    except (Refused, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Refused("is no JPEG or PNG image") from None
    except Image.DecompressionBombError:
        raise Refused(f"has more than {MOST_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow's readers raise whatever damage makes them stumble over
        raise Refused(f"cannot be decoded: {one_line(str(error) or repr(error))}") from None
    if starved:
        raise Refused("ends early: a part of the picture is missing")
    return image


def _opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data), formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        raise Refused(f"has {image.width}x{image.height} pixels, expected up to {MOST_PIXELS:,}")
    if image.format == "PNG" and getattr(image, "is_animated", False):
        raise Refused("is animated, expected one picture")
    form = image.tile[0].args
    image.load()
    if "transparency" in image.info:
        image.info["transparency"] = _key(image.info["transparency"], form)
    return image


def _key(key: Any, form: object) -> Any:
    """The colour that is transparent, as pixels have it; Pillow gives it as it is in the file."""
    if form == "RGB;16B":  # of whose pixels Pillow keeps 8 bits
        raise Refused("has a transparent colour of 16 bits, expected 8 bits or an alpha channel")
    most = _MOST_GREY.get(form)
    return (key & most) * (255 // most) if most else key


def _upright(image: Image.Image) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            turn = image.getexif().get(ExifTags.Base.Orientation, 1)
            return image if turn == 1 else ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # as above; the picture itself is whole
        return image


def _colours(image: Image.Image) -> Image.Image:
    """RGB, or red, green and blue times alpha with alpha, where something is transparent."""
    if image.mode.startswith("I"):
        image = _upper_bits(image)
    if image.has_transparency_data:
        straight = image if image.mode == "RGBA" else image.convert("RGBA")
        return straight.convert("RGBa")
    return image if image.mode == "RGB" else image.convert("RGB")


def _upper_bits(image: Image.Image) -> Image.Image:
    """8 bits of a grey of 16, with alpha where one of them, told by all its bits, is none."""
    pixels = np.asarray(image)
    grey = Image.fromarray((pixels >> 8).astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(pixels != image.info["transparency"]))
    return grey


# ------------------------------------------------------------------- JPEGs that end early


def _doubtful(image: Image.Image) -> bool:
    """Whether the last pixel is what libjpeg makes of a block for which no data are left.

    Progressive images, which are rare, are always doubtful: they end in a blur instead.
    """
    corner = image.crop((image.width - 1, image.height - 1, *image.size))
    return "progressive" in image.info or set(corner.tobytes()) <= {127, 128}


def _starved(data: bytes, image: Image.Image) -> bool:
    """Whether more data at the end of each scan would change the picture.

    libjpeg fills up with grey in silence; a complete scan makes it ignore what follows.
    """
    start = _first_scan(data)
    longer = data[:start] + _MARKER.sub(lambda found: _FILLER + found[0], data[start:])
    return _opened(longer).tobytes() != image.tobytes()


def _first_scan(data: bytes) -> int:
    """Where the first entropy-coded data begin, found by the lengths of the segments before."""
    place = 2
    while True:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        place += 2 + length
        if marker == _SCAN:
            return place
