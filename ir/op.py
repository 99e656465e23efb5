"""The vocabulary of the op table: one `Op` row holds every rule of one operation.

The rows stand in `ir/ops/`; `ir.ops.apply` is the only maker of nodes. A cell that does not apply
holds `Absent("the reason")`, never nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ir.graph import Attrs, AttrValue, Node
from ir.type import MAX_RANK, IRError, TensorType

Array = npt.NDArray[Any]

MAX_NAME = 128
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True)
class Absent:
    """An empty cell and the reason it is empty."""

    reason: str


# ---------------------------------------------------------------------------- attributes


@dataclass(frozen=True)
class Attr:
    """The schema of one attribute. Without a default it must be given."""

    kind: type[int] | type[float] | type[str] | type[tuple[int, ...]]
    default: AttrValue | None = None
    least: float | None = None
    below: float | None = None
    length: int | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> AttrValue:
        """Return the value in canonical form. Raises IRError saying what was expected."""
        if self.kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            value = float(value)
        if isinstance(value, list):
            value = tuple(value)
        if not self._fits(value):
            raise IRError(f"expected {self}, got {_brief(value)}")
        return value  # type: ignore[return-value]

    def _fits(self, value: object) -> bool:
        if isinstance(value, tuple):
            right_length = (
                len(value) <= MAX_RANK if self.length is None else len(value) == self.length
            )
            return self.kind is tuple and right_length and all(map(self._fits_number, value))
        if isinstance(value, str):
            fits = value in self.choices if self.choices else not value or is_name(value)
            return self.kind is str and fits
        return isinstance(value, self.kind) and self._fits_number(value)

    def _fits_number(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(value, float) and (self.kind is tuple or not np.isfinite(value)):
            return False
        above = self.least is None or value >= self.least
        return above and (self.below is None or value < self.below)

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        count = f"at most {MAX_RANK}" if self.length is None else f"{self.length}"
        noun = {int: "an integer", float: "a number", str: "a name in quotes"}.get(
            self.kind, f"a list of {count} integers"
        )
        bounds = [f">= {self.least:.12g}"] if self.least is not None else []
        bounds += [f"< {self.below:.12g}"] if self.below is not None else []
        return f"{noun} {' and '.join(bounds)}".rstrip()


def is_name(text: str) -> bool:
    """Whether the IR text can write this as a name."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def check_name(name: str) -> str:
    """The name itself. Raises IRError if it is none."""
    if not is_name(name):
        raise IRError(
            f"expected a name of at most {MAX_NAME} letters, digits, _ and ., not begun by a digit "
            f"or ., got {_brief(name)}"
        )
    return name


def show(value: object) -> str:
    """An attribute value as the IR text writes it."""
    if isinstance(value, tuple | list):
        return "[" + ",".join(show(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _brief(value: object) -> str:
    text = show(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# ---------------------------------------------------------------------------- gradients


class Emit(Protocol):
    """Appends one node to the backward graph."""

    def __call__(self, op: str, *inputs: Node, **attrs: AttrValue) -> Node: ...


@dataclass(frozen=True)
class Adjoint:
    """What a gradient rule sees: `node`, its cotangent `dy`, which operand is asked for."""

    node: Node
    dy: Node
    operand: int
    emit: Emit

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The operands of the node."""
        return self.node.inputs

    @property
    def attrs(self) -> dict[str, AttrValue]:
        """The attributes of the node, to be passed on."""
        return dict(self.node.attrs)


Vjp = Callable[[Adjoint], Node]


# ---------------------------------------------------------------------------- splitting


@dataclass(frozen=True)
class Local:
    """Shard i of the result needs shard i of this operand, cut along its axis."""

    axis: int = 1


@dataclass(frozen=True)
class Param:
    """Like Local, for the operand that holds the layer's own parameters."""

    axis: int = 0


@dataclass(frozen=True)
class Whole:
    """Every shard of the result needs all of this operand."""


Read = Local | Param | Whole


@dataclass(frozen=True)
class Shards:
    """How an op falls into equal shards along axis 1: what shard i reads, and its attributes."""

    reads: tuple[Read, ...]
    attrs: Callable[[int], Mapping[str, AttrValue]] = lambda shard: {}


SplitRule = Callable[..., Shards | str]
"""`rule(parts, *operand types, **attrs)`: the shards, or the reason why there are none."""


def uneven(parts: int, x: TensorType) -> str | None:
    """Why a tensor does not fall into equal parts along axis 1, or None if it does."""
    if x.rank >= 2 and x.shape[1] % parts == 0:
        return None
    return f"{x} does not divide by {parts} along axis 1"


def split_locally(parts: int, *types: TensorType, **attrs: AttrValue) -> Shards | str:
    """The split of elementwise ops: tensors fall apart along axis 1, scalars are read whole."""
    reasons = filter(None, (uneven(parts, t) for t in types if t.rank))
    reads = tuple(Local() if t.rank else Whole() for t in types)
    return next(reasons, None) or Shards(reads)


# ---------------------------------------------------------------------------- the row


class Fusion(Enum):
    """How a node may share a region with others. Fusion is opt-in: see `passes/fuse.py`."""

    LEAF = "leaf"  # no code: a fed value, a parameter, a constant
    ANCHOR = "anchor"  # a contraction; takes pointwise epilogues
    POINTWISE = "pointwise"  # element i of the result needs element i of the operands
    WINDOW = "window"  # gathers neighbours; two of them and what is pointwise around may fuse
    REDUCE = "reduce"  # sums over elements; takes pointwise epilogues
    COPY = "copy"  # only moves data; stands alone
    VIEW = "view"  # the same bytes under another shape; no code of its own


def all_bytes(result: TensorType, *operands: TensorType, **attrs: AttrValue) -> int:
    """Bytes moved when every operand is read once and the result written once."""
    return result.bytes + sum(operand.bytes for operand in operands)


def per_element(count: int) -> Callable[..., int]:
    """FLOPs of an op that does `count` of them for each element of its result."""
    return lambda result, *operands, **attrs: count * result.elements


@dataclass(frozen=True)
class Op:
    """One row of the table.

    `type(*operand types, **attrs)` is the only truth about shapes and raises IRError; a leaf gets
    its declared type instead of operands. `reference(*arrays, **attrs)` is the NumPy meaning.
    `gradient` has a rule or a reason for each operand that can be a float. `alias` names the
    operands whose memory the result may take over. `flops` and `bytes` are called with the
    result's type before the operands'.
    """

    name: str
    doc: str
    operands: tuple[str, ...]
    type: Callable[..., TensorType]
    reference: Callable[..., Array] | Absent
    gradient: Mapping[str, Vjp | Absent] | Absent
    split: SplitRule | Absent
    fusion: Fusion
    alias: tuple[str, ...] | Absent
    flops: Callable[..., int]
    bytes: Callable[..., int] = all_bytes
    attrs: Mapping[str, Attr] = field(default_factory=dict)

    @property
    def is_leaf(self) -> bool:
        """Whether the type is declared rather than inferred."""
        return self.fusion is Fusion.LEAF

    @property
    def variadic(self) -> bool:
        """Whether the last operand may be repeated."""
        return bool(self.operands) and self.operands[-1].startswith("*")

    def operand_name(self, index: int) -> str:
        """The name of operand `index`, without the `*` of a variadic one."""
        return self.operands[min(index, len(self.operands) - 1)].lstrip("*")

    def check_attrs(self, given: Attrs) -> dict[str, AttrValue]:
        """All attributes, canonical, with defaults filled in. Raises IRError."""
        for name in given:
            if name not in self.attrs:
                known = ", ".join(self.attrs) or "none"
                raise IRError(f"{self.name} has no attribute '{name}', expected {known}")
        return {name: self._check_attr(name, attr, given) for name, attr in self.attrs.items()}

    def _check_attr(self, name: str, attr: Attr, given: Attrs) -> AttrValue:
        value = given.get(name, attr.default)
        if value is None:
            raise IRError(f"{self.name} needs attribute '{name}', expected {attr}")
        try:
            return attr.check(value)
        except IRError as error:
            raise IRError(f"{self.name}: attribute '{name}': {error}") from None


def require(condition: bool, message: str) -> None:
    """Raise IRError unless a type rule's condition holds."""
    if not condition:
        raise IRError(message)
