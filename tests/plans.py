"""Small plans made by hand, with kernels as small, for what the runtime and the laws do."""

import hashlib
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import tvm
from tvm import ir, tirx

from codegen.loops import LANES, Loops
from codegen.targets import cpu
from ir.plan import (
    VERSION,
    Argument,
    Device,
    Feed,
    Fill,
    Kernel,
    Layout,
    Move,
    Plan,
    Program,
    Run,
    State,
    Tensor,
)

BLOCKS = 4
SIZE = BLOCKS * LANES
BYTES = 4 * SIZE
RUNTIME = "lib/libtvm_runtime.so"

Access = tuple[str, ...]


def _write_sum(loops: Loops, at: Any, x: Any, y: Any, out: Any) -> None:
    loops.store(out, x[at] + y[at], at)


def _write_descent(loops: Loops, at: Any, weight: Any, gradient: Any) -> None:
    half, rate = tirx.const(0.5, "float32"), tirx.const(0.125, "float32")
    loops.store(weight, weight[at] * half - gradient[at] * rate, at)


def _write_half(loops: Loops, at: Any, x: Any, out: Any) -> None:
    loops.store(out, x[at] * tirx.const(0.5, "float32"), at)


KERNELS: dict[str, tuple[Callable[..., None], Access]] = {
    "add": (_write_sum, ("read", "read", "write")),
    "descend": (_write_descent, ("update", "read")),
    "halve": (_write_half, ("read", "write")),
}


def _function(name: str) -> Any:
    body, access = KERNELS[name]
    loops = Loops()
    threads = loops.var("threads")
    scratch, *pointers = (
        tirx.Var(f"p{number}", ir.PointerType(ir.PrimType("float32")))
        for number in range(1 + len(access))
    )
    buffers = [loops.buffer(pointer, (SIZE,), "float32") for pointer in pointers]
    with loops.parallel(threads) as thread:
        begin = loops.let(thread * BLOCKS // threads)
        end = loops.let((thread + 1) * BLOCKS // threads)
        with loops.serial(end - begin, begin) as block, loops.lanes() as lane:
            body(loops, block * LANES + lane, *buffers)
    function = loops.function([threads, scratch, *pointers], noalias=False)
    return function.with_attr("global_symbol", name)


@lru_cache(maxsize=1)
def compiled() -> Path:
    """A folder of a plan, with `lib/` full of kernels and TVM's runtime."""
    folder = Path(mkdtemp(prefix="plans-"))
    (folder / "lib").mkdir()
    for name in KERNELS:
        module = tvm.IRModule({name: _function(name)})
        tvm.compile(module, target=cpu().tvm()).export_library(str(folder / f"lib/{name}.so"))
    shutil.copy(next(Path(tvm.__file__).parent.rglob("libtvm_runtime.so")), folder / RUNTIME)
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _kernel(name: str, folder: Path) -> Kernel:
    file = f"lib/{name}.so"
    arguments = tuple(Argument(bytes=BYTES, access=kind) for kind in KERNELS[name][1])  # type: ignore[arg-type]
    return Kernel(
        file=file,
        sha256=sha256(folder / file),
        symbol=name,
        scratch=64,
        arguments=arguments,
        flops=SIZE,
        moved=BYTES * len(arguments),
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
    steps: list[Run | Move] = []
    for device in (0, 1):
        steps.append(_run(len(steps), device, "add", 2, 0, 3, writes=f"a{device}"))
    for device in (0, 1):
        steps.append(_run(len(steps), device, "halve", 3, 3, writes=f"b{device}"))
    for device in (0, 1):
        steps.append(
            Move(
                index=len(steps),
                value=f"b{device}",
                source=device,
                source_offset=3 * BYTES,
                target=1 - device,
                target_offset=4 * BYTES,
                bytes=BYTES,
            )
        )
    for device in (0, 1):
        # In one order on both, so that the sums have the same bits.
        places = (3, 4) if device == 0 else (4, 3)
        steps.append(_run(len(steps), device, "add", *places, 5, writes=f"s{device}"))
        steps.append(_run(len(steps), device, "add", 5, 6, 5, writes=f"t{device}"))
        steps.append(_run(len(steps), device, "descend", 1, 5, writes=f"momentum{device}"))
        steps.append(_run(len(steps), device, "descend", 0, 1, writes=f"weight{device}"))
    train = Program(
        batch=SIZE,
        feeds=tuple(_feed(device, 2 * BYTES) for device in (0, 1)),
        fills=tuple(Fill(tensor=tensor("one", device, 6 * BYTES), value=1.0) for device in (0, 1)),
        steps=tuple(steps),
        outputs=tuple(tensor(f"t{device}", device, 5 * BYTES) for device in (0, 1)),
    )
    evaluate = Program(
        batch=SIZE,
        feeds=(_feed(1, 6 * BYTES),),
        fills=(),
        steps=(_run(0, 1, "halve", 6, 4, writes="y"),),
        outputs=(tensor("y", 1, 4 * BYTES),),
    )
    half = SIZE - 4
    return Plan(
        version=VERSION,
        name="towers",
        target={"kind": "cpu"},
        versions={"tandem": "0"},
        binding=("cpu:0", "cpu:1"),
        accumulate=1,
        library={RUNTIME: sha256(folder / RUNTIME)},
        devices=(Device(arena=7 * BYTES, lower_bound=6 * BYTES),) * 2,
        kernels={name: _kernel(name, folder) for name in KERNELS},
        states=tuple(
            _state(f"{name}{device}", device, place * BYTES, device * half, 2 * half, std)
            for device in (0, 1)
            for place, name, std in ((0, "weight", 0.5), (1, "momentum", 0.0))
        ),
        programs={"train": train, "evaluate": evaluate},
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
        name="whole",
        target={"kind": "cpu"},
        versions={"tandem": "0"},
        binding=("cpu:0",),
        accumulate=1,
        library={RUNTIME: sha256(folder / RUNTIME)},
        devices=(Device(arena=6 * BYTES, lower_bound=6 * BYTES),),
        kernels={"halve": _kernel("halve", folder)},
        states=states,
        programs={"train": train},
    )
