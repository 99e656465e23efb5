"""The records of a plan. Sizes and offsets are in bytes."""

from typing import Literal

import msgspec

VERSION = 6
ALIGNMENT = 64


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object; unknown keys are refused."""


class Layout(Record, frozen=True):
    """From a logical array to its bytes: pad at the ends, split axes, permute.

    `padded` are the extents after padding with zeros; each (axis, factor) of `splits` makes an
    axis into (extent / factor, factor), axes numbered before any split; `order` permutes the axes
    that result.
    """

    shape: tuple[int, ...]
    padded: tuple[int, ...]
    splits: tuple[tuple[int, int], ...]
    order: tuple[int, ...]


DTYPES = Literal["f32", "bf16", "u8", "i32", "u32"]
ITEM_BYTES = {"f32": 4, "bf16": 2, "u8": 1, "i32": 4, "u32": 4}


class Tensor(Record, frozen=True):
    """A value that the host reads or writes: where it lies and how."""

    name: str
    device: int
    offset: int
    bytes: int
    dtype: DTYPES
    layout: Layout


class State(Record, frozen=True):
    """A tensor that is kept between steps: a piece of a logical one.

    `logical` is its name in checkpoints, `whole` the shape there, `start` where this piece
    begins. At the start it is drawn from N(value, std^2), or filled with `value` where std is 0.
    `rate` multiplies the learning rate of a parameter; of other states it is 1. `copies` is empty,
    or names the parameter that this state always is, rounded to bf16; it is in no checkpoint.
    """

    tensor: Tensor
    kind: Literal["param", "state"]
    logical: str
    whole: tuple[int, ...]
    start: tuple[int, ...]
    value: float
    std: float
    rate: float
    copies: str


class Feed(Record, frozen=True):
    """A tensor fed under its logical name; integers lie in [0, below) if below > 0."""

    tensor: Tensor
    logical: str
    below: int


class Argument(Record, frozen=True):
    """What a kernel does with one pointer, and what lies there."""

    bytes: int
    access: Literal["read", "write", "update"]
    dtype: DTYPES


class Library(Record, frozen=True, tag="library"):
    """Code for a CPU: `symbol` in `file`, called with (threads, scratch, arguments...).

    Its threads share `scratch` bytes; after these each has `per_thread` bytes of its own.
    """

    file: str
    sha256: str
    symbol: str
    scratch: int
    per_thread: int


class TensorMap(Record, frozen=True):
    """An argument as GPUs copy boxes of it to shared memory (CUDA's tensor maps).

    Axes are named innermost first. `extents` are in elements, as those of a `box`; `strides` are
    bytes between neighbours along every axis but the first, whose elements lie side by side. Lines
    of `swizzle` bytes have their units of 16 bytes swizzled, unless it is 0. `argument` is a place
    among the kernel's arguments.
    """

    argument: int
    extents: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    swizzle: int


class Launch(Record, frozen=True):
    """One launch of a GPU function. `grid` and `block` are extents along (x, y, z).

    `arguments` are places among the kernel's arguments, -1 for its scratch, or maps of arguments.
    `shared` bytes of a block and `registers` of a thread are what the compiler reported; `dynamic`
    shared bytes of a block are asked for beside them, when it is launched.
    """

    symbol: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[int | TensorMap, ...]
    shared: int
    dynamic: int
    registers: int

    @property
    def places(self) -> tuple[int, ...]:
        """Of all arguments, also those that it has maps of."""
        return tuple(a.argument if isinstance(a, TensorMap) else a for a in self.arguments)


class Cubin(Record, frozen=True):
    """A binary for one architecture, a file with its hash, and launches one after another.

    They share `scratch` bytes, which hold garbage at the start.
    """

    file: str
    sha256: str
    launches: tuple[Launch, ...]
    scratch: int


class Cubins(Record, frozen=True, tag="cubins"):
    """Code for NVIDIA GPUs, by architecture such as sm_90a."""

    binaries: dict[str, Cubin]

    @property
    def scratch(self) -> int:
        """Bytes that the greediest binary takes."""
        return max((each.scratch for each in self.binaries.values()), default=0)


class Work(Record, frozen=True):
    """Instructions of a kernel by kind, of all threads together; each handles a vector of lanes.

    `dear` are divisions, roots and exponentials, `simple` all other arithmetic; `scalars` are
    stores and gathered loads of one element. `tf32` and `bf16` are multiply-adds of tensor cores.
    """

    multiply_adds: int
    simple: int
    dear: int
    loads: int
    stores: int
    scalars: int
    tf32: int
    bf16: int


class Speeds(Record, frozen=True):
    """What one core or one GPU does while all of them work; predictions follow from it.

    Of instructions the nanoseconds each takes, by kind; bytes per second of a kernel's first
    `cache` bytes, of its others, and of transfers; what a launch takes, in nanoseconds. Of a GPU's
    `processors` each takes whole blocks of threads. `origin` says where all this is from.
    """

    unit: str
    origin: str
    multiply_adds: float
    simple: float
    dear: float
    loads: float
    stores: float
    scalars: float
    near: float
    far: float
    link: float
    cache: int
    launch: float
    processors: int
    tf32: float
    bf16: float


class Kernel(Record, frozen=True):
    """A compiled region: its FLOPs by its ops' formulas, the bytes of its arguments, and what it
    really executes. `measured` says whether its sizes were chosen by measurement."""

    code: Library | Cubins
    arguments: tuple[Argument, ...]
    flops: int
    moved: int
    work: Work
    measured: bool


class Run(Record, frozen=True, tag="run"):
    """One kernel on one device; `offsets` in its arena, in the order of the kernel's arguments."""

    index: int
    device: int
    kernel: str
    offsets: tuple[int, ...]
    writes: tuple[str, ...]


class Move(Record, frozen=True, tag="move"):
    """A transfer: `bytes` from one arena into another."""

    index: int
    value: str
    source: int
    source_offset: int
    target: int
    target_offset: int
    bytes: int


class Fill(Record, frozen=True):
    """A constant; it is in place before the first step, and no step writes it."""

    tensor: Tensor
    value: float


class Program(Record, frozen=True):
    """Feeds, steps in one total order (their indices count from 0), and what is put out."""

    batch: int
    feeds: tuple[Feed, ...]
    fills: tuple[Fill, ...]
    steps: tuple[Run | Move, ...]
    outputs: tuple[Tensor, ...]


class Device(Record, frozen=True):
    """A logical device: its arena, and the least any plan could need of it."""

    arena: int
    lower_bound: int


class Plan(Record, frozen=True):
    """Everything a runtime needs, but for the values.

    Files are named relative to the plan's folder; `library` gives each library that the kernels
    need and its sha256. `precision` is what was asked of contractions. `predicted` is of no
    consequence for what is computed.
    """

    version: int
    name: str
    target: dict[str, str]
    versions: dict[str, str]
    binding: tuple[str, ...]
    accumulate: int
    precision: Literal["fp32", "tf32", "bf16"]
    library: dict[str, str]
    devices: tuple[Device, ...]
    kernels: dict[str, Kernel]
    states: tuple[State, ...]
    programs: dict[str, Program]
    predicted: Speeds

    def scratch(self, threads: int = 1) -> int:
        """Bytes that the greediest kernel takes on a device; a CPU has so many `threads`."""
        codes = [kernel.code for kernel in self.kernels.values()]
        each = [code.per_thread if isinstance(code, Library) else 0 for code in codes]
        return max(
            (c.scratch + threads * own for c, own in zip(codes, each, strict=True)), default=0
        )
