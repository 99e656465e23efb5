"""The words in a drawing: byte counts, ops with their key attributes, shapes."""

from xml.sax.saxutils import escape

from ir.graph import Node
from ir.op import show
from ir.ops import row_of
from ir.type import DType

LONGEST = 30
"""Characters of a name or an op; longer ones lose their middle."""

_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))

# Attributes worth their place, where they differ from the default. Those that say where a piece
# lies in its logical tensor, or restate a shape, are not.
_WORDS = {
    "groups": "{} groups",
    "p": "p {}",
    "top": "top {}",
    "by": "by {}",
    "ties": "ties {}",
    "math": "{}",
}


def human_bytes(count: int) -> str:
    """A byte count in decimal units: 4 B, 11.08 MB."""
    for size, unit in _UNITS:
        # What would round up to 1000 belongs to the next unit.
        if count >= size * 0.999995:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def human_flops(count: int) -> str:
    """A FLOP count in decimal units."""
    for size, unit in ((10**12, "TFLOP"), (10**9, "GFLOP"), (10**6, "MFLOP")):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} FLOP"


def markup(text: str) -> str:
    """A text inside XML or graphviz's likeness of it, in ASCII whatever the terminal's encoding."""
    return escape(text).encode("ascii", "xmlcharrefreplace").decode()


def shorten(text: str) -> str:
    """The text, its middle left out if it is long."""
    if len(text) <= LONGEST:
        return text
    keep = LONGEST - 1
    return f"{text[: (keep + 1) // 2]}…{text[-(keep // 2) :]}"


def op_words(node: Node) -> str:
    """The op and what tells it from others of its kind: `conv 5x5 /1 pad 2`."""
    schema = row_of(node).attrs
    words = [node.op, *_window(node)]
    for key, pattern in _WORDS.items():
        if key in schema and node.attrs[key] != schema[key].default:
            value = node.attrs[key]
            words.append(pattern.format(value if isinstance(value, str) else show(value)))
    if {"start", "size"} <= schema.keys():
        words.append(_range(node))
    if node.op == "transfer":
        words.append(f"from {node.inputs[0].device}")
    return shorten(" ".join(words))


def _window(node: Node) -> list[str]:
    row, attrs = row_of(node), node.attrs
    if "stride" not in attrs:
        return []
    size = attrs.get("kernel") or attrs.get("window")
    if size is None and "w" in row.operands:
        size = node.inputs[row.operands.index("w")].type.shape[-2:]
    words = [_by(size)] if isinstance(size, tuple) else []
    words.append(f"/{_once(attrs['stride'])}")
    pad = attrs.get("pad", ())
    if isinstance(pad, tuple) and any(pad):
        words.append(f"pad {_once(pad)}")
    return words


def _by(sizes: object) -> str:
    """Extents as `5x5`."""
    assert isinstance(sizes, tuple)
    return "x".join(map(str, sizes))


def _once(sizes: object) -> str:
    """Equal extents as one number, others as `0,3,0,3`."""
    assert isinstance(sizes, tuple)
    return str(sizes[0]) if len(set(sizes)) == 1 else ",".join(map(str, sizes))


def _range(node: Node) -> str:
    start, axis = node.attrs["start"], node.attrs["axis"]
    assert isinstance(start, int)
    assert isinstance(axis, int)
    part = node.type if node.op == "slice" else node.inputs[0].type
    return f"[{start}:{start + part.shape[axis]}]"


def shape_words(node: Node) -> str:
    """The shape; the element type too unless it is f32."""
    shape = f"[{','.join(map(str, node.type.shape))}]" if node.type.rank else "scalar"
    return shape if node.type.dtype is DType.F32 else f"{node.type.dtype} {shape}"


# Advance widths of Helvetica, in thousandths of the type size; of what is not listed, 556.
_WIDTHS = {
    character: width
    for width, characters in {
        222: "ijl|'",
        278: "ftI.,:;/! []",
        333: "r()-",
        500: "cksvxyzJ",
        611: "FTZ",
        667: "ABEKPSVXY",
        722: "CDHNRUw",
        778: "GOQ",
        833: "mM",
        944: "W",
        1000: "→…%@",
    }.items()
    for character in characters
}
_SPARE, _BOLD = 1.06, 1.08


def text_width(text: str, size: float, bold: bool = False) -> float:
    """How wide a text is, in the units of its size, with some to spare for other typefaces."""
    thousandths = sum(_WIDTHS.get(character, 556) for character in text)
    return thousandths / 1000 * size * _SPARE * (_BOLD if bold else 1.0)
