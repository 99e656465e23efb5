"""The words in a drawing: byte counts, ops with their key attributes, shapes."""

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
    words.append(f"/{_by(attrs['stride'], same=True)}")
    pad = attrs.get("pad", ())
    if isinstance(pad, tuple) and any(pad):
        words.append(f"pad {_by(pad, same=True)}")
    return words


def _by(sizes: object, same: bool = False) -> str:
    """Extents as `5x5`; where `same`, one number stands for equal ones."""
    assert isinstance(sizes, tuple)
    return str(sizes[0]) if same and len(set(sizes)) == 1 else "x".join(map(str, sizes))


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
