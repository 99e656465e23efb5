"""Small plans made by hand, with kernels as small, for what the runtime and the laws do."""

import atexit
import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

import numpy as np
import tvm
from msgspec.structs import replace
from tvm import ir, tirx

from codegen.cost.speeds import GUESSES
from codegen.loops import Loops
from codegen.targets import Cpu, cpu
from ir.op import Array
from ir.plan import (
    DTYPES,
    VERSION,
    Argument,
    Cubin,
    Cubins,
    Device,
    Feed,
    Fill,
    Kernel,
    Launch,
    Layout,
    Library,
    Move,
    Plan,
    Program,
    Run,
    State,
    Tensor,
    Work,
)
from runtime.devices import open_executor
from runtime.executor import Executor

LANES = Cpu.lanes
BLOCKS = 4
SIZE = BLOCKS * LANES
BYTES = 4 * SIZE
RUNTIME = "lib/libtvm_runtime.so"
ARCHES = ("sm_80", "sm_90a")
X = np.linspace(-1, 1, SIZE, dtype=np.float32)
"""Something to feed."""
Access = Literal["read", "write", "update"]
SHORT: dict[str, DTYPES] = {"float32": "f32", "uint8": "u8", "int32": "i32"}


@dataclass(frozen=True)
class Tiny:
    """A kernel of a few lines. `body` stores one element of `SIZE`, or everything if `once`.

    Operands are (elements, dtype, access).
    """

    body: Callable[..., None]
    operands: tuple[tuple[int, str, Access], ...]
    once: bool = False


def f32(value: float) -> Any:
    """A constant in a kernel."""
    return tirx.const(value, "float32")


def _write_sum(loops: Loops, at: Any, x: Any, y: Any, out: Any) -> None:
    loops.store(out, x[at] + y[at], at)


def _write_descent(loops: Loops, at: Any, weight: Any, gradient: Any) -> None:
    loops.store(weight, weight[at] * f32(0.5) - gradient[at] * f32(0.125), at)


def _write_half(loops: Loops, at: Any, x: Any, out: Any) -> None:
    loops.store(out, x[at] * f32(0.5), at)


READ: tuple[int, str, Access] = (SIZE, "float32", "read")
WRITE: tuple[int, str, Access] = (SIZE, "float32", "write")
UPDATE: tuple[int, str, Access] = (SIZE, "float32", "update")

KERNELS = {
    "add": Tiny(_write_sum, (READ, READ, WRITE)),
    "descend": Tiny(_write_descent, (UPDATE, READ)),
    "halve": Tiny(_write_half, (READ, WRITE)),
}


def _function(name: str, tiny: Tiny) -> Any:
    loops = Loops()
    threads = loops.var("threads")
    scratch = tirx.Var("scratch", ir.PointerType(ir.PrimType("float32")))
    pointers = [
        tirx.Var(f"p{number}", ir.PointerType(ir.PrimType(dtype)))
        for number, (_, dtype, _) in enumerate(tiny.operands)
    ]
    buffers = [
        loops.buffer(pointer, (count,), dtype)
        for pointer, (count, dtype, _) in zip(pointers, tiny.operands, strict=True)
    ]
    if tiny.once:
        tiny.body(loops, 0, *buffers)
    else:
        with loops.parallel(threads) as thread:
            begin = loops.let(thread * BLOCKS // threads)
            end = loops.let((thread + 1) * BLOCKS // threads)
            with loops.serial(end - begin, begin) as block, loops.vector(LANES) as lane:
                tiny.body(loops, block * LANES + lane, *buffers)
    function = loops.function([threads, scratch, *pointers], device=1, noalias=False)
    return function.with_attr("global_symbol", name)


def compile_into(folder: Path, kernels: Mapping[str, Tiny]) -> Path:
    """Fill a folder's `lib/` with kernels and TVM's runtime."""
    (folder / "lib").mkdir()
    for name, tiny in kernels.items():
        module = tvm.IRModule({name: _function(name, tiny)})
        tvm.compile(module, target=cpu().tvm()).export_library(str(folder / f"lib/{name}.so"))
    shutil.copy(next(Path(tvm.__file__).parent.rglob("libtvm_runtime.so")), folder / RUNTIME)
    return folder


@lru_cache(maxsize=1)
def compiled() -> Path:
    """The folder of the plans below, on CPUs and on GPUs."""
    folder = compile_into(new_folder(), KERNELS)
    for name in KERNELS:
        for arch in ARCHES:
            (folder / f"lib/{name}.{arch}.cubin").write_bytes(cubin(name))
    return folder


def new_folder() -> Path:
    """A temporary folder that lasts as long as the process."""
    folder = Path(mkdtemp(prefix="plans-"))
    atexit.register(shutil.rmtree, folder)
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kernel(name: str, tiny: Tiny, folder: Path) -> Kernel:
    """Its record in a plan."""
    file = f"lib/{name}.so"
    arguments = tuple(
        Argument(bytes=count * np.dtype(dtype).itemsize, access=access, dtype=SHORT[dtype])
        for count, dtype, access in tiny.operands
    )
    return Kernel(
        code=Library(file, sha256(folder / file), symbol=name, scratch=0, per_thread=64),
        arguments=arguments,
        flops=SIZE,
        moved=sum(argument.bytes for argument in arguments),
        work=Work(SIZE, simple=0, dear=0, loads=SIZE, stores=SIZE, scalars=0, tf32=0, bf16=0),
        measured=False,
    )


def tensor(name: str, device: int, offset: int, shape: tuple[int, ...] = (SIZE,)) -> Tensor:
    """float32, axis 0 padded to full blocks, lanes innermost."""
    blocks = -(-shape[0] // LANES)
    padded = (blocks * LANES, *shape[1:])
    order = (0, *range(2, len(shape) + 1), 1)
    size = 4 * blocks * LANES
    for extent in shape[1:]:
        size *= extent
    layout = Layout(shape=shape, padded=padded, splits=((0, LANES),), order=order)
    return Tensor(name=name, device=device, offset=offset, bytes=size, dtype="f32", layout=layout)


def _state(name: str, device: int, offset: int, start: int, whole: int, std: float) -> State:
    logical = "x.weight" if std else "x.weight.momentum"
    return State(
        tensor=tensor(name, device, offset, (SIZE - 4, 1)),
        kind="param" if std else "state",
        logical=logical,
        whole=(whole, 1),
        start=(start, 0),
        value=0.0,
        std=std,
        rate=1.0,
        copies="",
    )


def _feed(device: int, offset: int) -> Feed:
    return Feed(tensor=tensor("x", device, offset), logical="x", below=0)


def _run(index: int, device: int, kernel: str, *places: int, writes: str) -> Run:
    offsets = tuple(place * BYTES for place in places)
    return Run(index=index, device=device, kernel=kernel, offsets=offsets, writes=(writes,))


def two_devices(folder: Path | None = None) -> Plan:
    """Two towers that exchange their halves and descend; each holds half of x.weight.

    Places in both arenas, each of `BYTES`: 0 weight, 1 momentum, 2 x, 3 own, 4 the other's, 5
    their sum, 6 one.
    """
    folder = folder or compiled()
    half = SIZE - 4
    return Plan(
        version=VERSION,
        predicted=GUESSES["cpu"],
        name="towers",
        target={"kind": "cpu"},
        versions={"tandem": "0"},
        binding=("cpu:0", "cpu:1"),
        accumulate=1,
        precision="fp32",
        library={RUNTIME: sha256(folder / RUNTIME)},
        devices=(Device(arena=7 * BYTES, lower_bound=6 * BYTES),) * 2,
        kernels={name: kernel(name, tiny, folder) for name, tiny in KERNELS.items()},
        states=tuple(
            _state(f"{name}{device}", device, place * BYTES, device * half, 2 * half, std)
            for device in (0, 1)
            for place, name, std in ((0, "weight", 0.5), (1, "momentum", 0.0))
        ),
        programs={"train": _descending(), "evaluate": _halving()},
    )


def _descending() -> Program:
    return Program(
        batch=SIZE,
        feeds=tuple(_feed(device, 2 * BYTES) for device in (0, 1)),
        fills=tuple(Fill(tensor=tensor("one", device, 6 * BYTES), value=1.0) for device in (0, 1)),
        steps=tuple(_descent()),
        outputs=tuple(tensor(f"t{device}", device, 5 * BYTES) for device in (0, 1)),
    )


def _descent() -> list[Run | Move]:
    steps: list[Run | Move] = []
    for device in (0, 1):
        steps.append(_run(len(steps), device, "add", 2, 0, 3, writes=f"a{device}"))
    for device in (0, 1):
        steps.append(_run(len(steps), device, "halve", 3, 3, writes=f"b{device}"))
    for device in (0, 1):
        steps.append(_exchange(len(steps), device))
    for device in (0, 1):
        # In one order on both, so that the sums have the same bits.
        places = (3, 4) if device == 0 else (4, 3)
        steps.append(_run(len(steps), device, "add", *places, 5, writes=f"s{device}"))
        steps.append(_run(len(steps), device, "add", 5, 6, 5, writes=f"t{device}"))
        steps.append(_run(len(steps), device, "descend", 1, 5, writes=f"momentum{device}"))
        steps.append(_run(len(steps), device, "descend", 0, 1, writes=f"weight{device}"))
    return steps


def _exchange(index: int, source: int) -> Move:
    return Move(
        index=index,
        value=f"b{source}",
        source=source,
        source_offset=3 * BYTES,
        target=1 - source,
        target_offset=4 * BYTES,
        bytes=BYTES,
    )


def _halving() -> Program:
    return Program(
        batch=SIZE,
        feeds=(_feed(1, 6 * BYTES),),
        fills=(),
        steps=(_run(0, 1, "halve", 6, 4, writes="y"),),
        outputs=(tensor("y", 1, 4 * BYTES),),
    )


def one_device(folder: Path | None = None) -> Plan:
    """The same logical states whole on one device, and a program that halves what it is fed."""
    folder = folder or compiled()
    whole = 2 * (SIZE - 4)
    wide = 2 * BYTES
    states = tuple(
        State(
            tensor=tensor(name, 0, place * wide, (whole, 1)),
            kind="param" if std else "state",
            logical=logical,
            whole=(whole, 1),
            start=(0, 0),
            value=0.0,
            std=std,
            rate=1.0,
            copies="",
        )
        for place, name, logical, std in (
            (0, "weight", "x.weight", 0.5),
            (1, "momentum", "x.weight.momentum", 0.0),
        )
    )
    train = Program(
        batch=SIZE,
        feeds=(_feed(0, 4 * BYTES),),
        fills=(),
        steps=(_run(0, 0, "halve", 4, 5, writes="y"),),
        outputs=(tensor("y", 0, 5 * BYTES),),
    )
    return Plan(
        version=VERSION,
        predicted=GUESSES["cpu"],
        name="whole",
        target={"kind": "cpu"},
        versions={"tandem": "0"},
        binding=("cpu:0",),
        accumulate=1,
        precision="fp32",
        library={RUNTIME: sha256(folder / RUNTIME)},
        devices=(Device(arena=6 * BYTES, lower_bound=6 * BYTES),),
        kernels={"halve": kernel("halve", KERNELS["halve"], folder)},
        states=states,
        programs={"train": train},
    )


def on_gpus(plan: Plan) -> Plan:
    """The same with a launch in the place of each library; what it loads is `cubin(symbol)`.

    A launch gets all arguments of its kernel, and after them the scratch of `halve`.
    """
    kernels = {
        name: replace(kernel, code=_cubins(name, kernel, 256 if name == "halve" else 0))
        for name, kernel in plan.kernels.items()
    }
    binding = tuple(name.replace("cpu", "cuda") for name in plan.binding)
    return replace(plan, target={"kind": "cuda"}, binding=binding, library={}, kernels=kernels)


def _cubins(name: str, kernel: Kernel, scratch: int) -> Cubins:
    launch = Launch(
        symbol=name,
        grid=(BLOCKS, 1, 1),
        block=(LANES, 1, 1),
        arguments=(*range(len(kernel.arguments)), *([-1] if scratch else [])),
        shared=0,
        dynamic=0,
        registers=16,
    )
    sha256 = hashlib.sha256(cubin(name)).hexdigest()
    return Cubins(
        {arch: Cubin(f"lib/{name}.{arch}.cubin", sha256, (launch,), scratch) for arch in ARCHES}
    )


def cubin(symbol: str) -> bytes:
    """In the place of a binary: nothing that a GPU could run."""
    return symbol.encode()


def opened(plan: Plan | None = None, **options: Any) -> Executor:
    """An executor of one of these plans, `two_devices()` unless told otherwise."""
    return open_executor(plan or two_devices(), compiled(), **options)


def halves(value: Array) -> Array:
    """Both pieces of a state of `two_devices()` as they lie in memory."""
    return np.stack([np.pad(half, (0, 4)) for half in value.reshape(2, -1)])
