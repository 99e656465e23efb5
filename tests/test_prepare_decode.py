"""Images: what is taken and how, and every reason for a refusal; no picture is made up."""

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from runtime.data.decode import MOST_PIXELS, Refused, decode
from runtime.data.resize import Pixels, square
from tests.counts import cases
from tests.photographs import encoded, view

SIZE = 40
GREY, COLOURS = 0, 2  # kinds of PNG
ORIENTATION = 0x0112
TURNS: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: ImageOps.mirror,
    3: lambda image: image.rotate(180),
    4: ImageOps.flip,
    5: lambda image: ImageOps.mirror(image.rotate(-90, expand=True)),
    6: lambda image: image.rotate(-90, expand=True),
    7: lambda image: ImageOps.mirror(image.rotate(90, expand=True)),
    8: lambda image: image.rotate(90, expand=True),
}


def png(width: int, height: int, bits: int, kind: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG of rows as the format has them, and more chunks before them."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in (header, *chunks, b"IDAT" + zlib.compress(rows), b"IEND")
    )


def plain(image: Image.Image) -> Pixels:
    return square(image.convert("RGB"), SIZE)


# -------------------------------------------------------------------------------- taken


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("turn", TURNS)
def test_exif_turns_the_picture(kind: str, turn: int) -> None:
    # A file that says "turn me so" shows the turned picture.
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    image = view(3).resize((64, 48))
    stored = encoded(image, kind, exif=exif)
    shown = TURNS[turn](Image.open(BytesIO(encoded(image, kind))))
    assert np.array_equal(decode(stored, SIZE), plain(shown))


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0\0\x08\0\x09", b"Exif\0\0junk", b"\xff" * 20])
def test_exif_that_cannot_be_read_is_ignored(exif: bytes) -> None:
    image = view(4)
    assert np.array_equal(decode(encoded(image, exif=exif), SIZE), decode(encoded(image), SIZE))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB"])
def test_other_modes_become_colours(mode: str) -> None:
    image = view(5).convert(mode)
    assert np.array_equal(decode(encoded(image, "PNG"), SIZE), plain(image))


def test_cmyk_goes_through_its_formula() -> None:
    data = encoded(view(6).convert("CMYK"), quality=95)
    found = decode(data, SIZE)
    assert np.abs(found.astype(int) - plain(view(6))).mean() < 8


def test_of_16_bits_the_upper_8_count() -> None:
    grey = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    found = decode(encoded(Image.fromarray(grey), "PNG"), 64)
    assert np.array_equal(found, np.broadcast_to(grey >> 8, (3, 64, 64)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(mode: str) -> None:
    image = Image.new("RGBA", (80, 60), (10, 10, 10, 255))
    image.paste((200, 200, 200, 0), (0, 0, 80, 30))
    found = decode(encoded(image.convert(mode), "PNG"), 60)
    assert np.all(found[:, :30] == 255)
    assert np.abs(found[:, 30:].astype(int) - 10).max() <= 1


def test_half_transparent_is_half_white() -> None:
    image = Image.new("RGBA", (50, 50), (100, 0, 200, 51))
    found = decode(encoded(image, "PNG"), 25)[:, 0, 0]
    assert np.abs(found - (0.2 * np.array([100, 0, 200]) + 0.8 * 255)).max() <= 1


@cases(full=300, sample=40)
@given(
    bits=st.sampled_from([1, 2, 4, 8, 16]),
    pixels=st.lists(st.integers(0, 2**16 - 1), min_size=64, max_size=64),
    key=st.integers(0, 63),
)
def test_the_grey_that_is_transparent_shows_white(bits: int, pixels: list[int], key: int) -> None:
    greys = np.array(pixels, np.uint16).reshape(8, 8) >> (16 - bits)
    clear = int(greys.flat[key])
    planes = np.unpackbits(greys.astype(">u2").view(np.uint8).reshape(8, 8, 2), axis=2)
    rows = np.packbits(planes[..., 16 - bits :].reshape(8, -1), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    shown = greys >> 8 if bits == 16 else greys * (255 // (2**bits - 1))
    plain = decode(png(8, 8, bits, GREY, lines), 8)
    keyed = decode(png(8, 8, bits, GREY, lines, b"tRNS" + struct.pack(">H", clear)), 8)
    assert np.array_equal(plain[0], shown)
    assert np.array_equal(keyed, np.where(greys == clear, 255, plain))


def test_the_colour_that_is_transparent_shows_white() -> None:
    data = png(2, 2, 8, COLOURS, b"\0abcxyz" * 2, b"tRNS\0a\0b\0c")
    assert decode(data, 2)[:, 0].T.tolist() == [[255] * 3, list(b"xyz")]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_grey_picture_that_is_whole_is_taken(mode: str, progressive: bool) -> None:
    image = Image.new(mode, (70, 50), (128,) * len(mode) if mode != "L" else 128)
    data = encoded(image, progressive=progressive, exif=b"Exif\0\0\xff\xda\xff\xd9")
    assert decode(data, SIZE).shape == (3, SIZE, SIZE)


# ------------------------------------------------------------------------------ refused


def bomb() -> bytes:
    """A PNG that says it has more pixels than are allowed, and nothing else."""
    side = int(MOST_PIXELS**0.5) + 1
    return png(side, side, 1, GREY, bytes(side * (side // 8 + 2)))


def animated() -> bytes:
    return encoded(view(1), "PNG", save_all=True, append_images=[view(2)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"not an image", "is no JPEG or PNG image"),
        (encoded(view(1), "GIF"), "is no JPEG or PNG image"),
        (encoded(view(1), "BMP"), "is no JPEG or PNG image"),
        (encoded(view(1))[:900], "image file is truncated"),
        (encoded(view(1), "PNG")[:9000], "cannot be decoded"),
        (encoded(view(1))[:2], "is no JPEG or PNG image"),
        (bomb(), "pixels, expected up to 64,000,000"),
        (animated(), "is animated, expected one picture"),
        (
            png(1, 1, 16, COLOURS, b"\0AaBbCc", b"tRNSAaBbCc"),
            "has a transparent colour of 16 bits, expected 8 bits or an alpha channel",
        ),
    ],
)
def test_the_reason_for_a_refusal_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        decode(data, SIZE)


@cases(full=400, sample=60)
@given(place=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_png_with_one_bit_flipped_is_refused(place: float, bit: int) -> None:
    data = bytearray(encoded(view(2, 60, 40), "PNG"))
    # Not in the checksum of the end mark, which covers nothing.
    data[8 + int(place * (len(data) - 13))] ^= 1 << bit
    with pytest.raises(Refused):
        decode(bytes(data), SIZE)


@cases(full=400, sample=60)
@given(kept=st.floats(0, 1), image=st.integers(0, 5), progressive=st.booleans())
def test_a_jpeg_cut_short_and_ended_anew_is_no_picture(
    kept: float, image: int, progressive: bool
) -> None:
    # libjpeg would fill the rest with grey, and say nothing.
    whole = encoded(view(image), progressive=progressive)
    start = whole.rindex(b"\xff\xda") + 14  # between scans a progressive one may end
    cut = whole[: start + int(kept * (len(whole) - start - 2))] + b"\xff\xd9"
    try:
        found = decode(cut, SIZE)
    except Refused:
        return
    # Only bits of padding were lost, or one or two of the last, all but invisible, coefficients.
    assert len(whole) - len(cut) < 64
    assert np.abs(found.astype(int) - decode(whole, SIZE)).mean() < 1


@cases(full=1000, sample=100)
@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG"]))
def test_damage_is_refused_or_gives_a_picture_and_nothing_else(
    data: st.DataObject, kind: str
) -> None:
    whole = bytearray(encoded(view(data.draw(st.integers(0, 9)), 60, 40), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Refused):
        assert decode(bytes(whole), SIZE).shape == (3, SIZE, SIZE)
