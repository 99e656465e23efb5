"""A tiny plan with the feeds, outputs and programs of a real one, for what trains and evaluates.

It learns nothing, but what it computes depends on every feed: on each of two devices half of
`x.weight` runs after the images, with momentum, and the loss is made of both halves.
"""

from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from codegen.cost.speeds import GUESSES
from codegen.loops import Loops
from ir.plan import VERSION, Device, Feed, Layout, Move, Plan, Program, Run, State, Tensor
from tests.plans import (
    BYTES,
    LANES,
    READ,
    RUNTIME,
    SIZE,
    UPDATE,
    Access,
    Tiny,
    compile_into,
    f32,
    kernel,
    new_folder,
    sha256,
)

BATCH = LANES
SHAPE = (BATCH, 3, 8, 8)
ITEM = {"f32": 4, "i32": 4, "u8": 1}


def _learn(
    loops: Loops, at: Any, images: Any, weights: Any, rate: Any, keep: Any, state: Any, speed: Any
) -> None:
    pixel = images[at].astype("float32") * f32(1 / 256) * weights[at % LANES]
    loops.store(speed, speed[at] * keep[0] + rate[0] * (state[at] - pixel), at)
    loops.store(state, state[at] - speed[at], at)


def _measure(
    loops: Loops,
    at: Any,
    images: Any,
    labels: Any,
    weights: Any,
    one: Any,
    other: Any,
    loss: Any,
    top1: Any,
    top5: Any,
) -> None:
    loops.store(loss, one[0] * one[0] + other[0] * other[0], 0)
    loops.store(top1, labels[0].astype("float32") * weights[0] * f32(1 / 16), 0)
    loops.store(top5, images[0].astype("float32") * weights[0] * f32(1 / 256), 0)


PIXELS: tuple[int, str, Access] = (prod(SHAPE), "uint8", "read")
LABELS: tuple[int, str, Access] = (BATCH, "int32", "read")
WEIGHTS: tuple[int, str, Access] = (BATCH, "float32", "read")
SCALAR: tuple[int, str, Access] = (1, "float32", "read")
RESULT: tuple[int, str, Access] = (1, "float32", "write")

KERNELS = {
    "learn": Tiny(_learn, (PIXELS, WEIGHTS, SCALAR, SCALAR, UPDATE, UPDATE)),
    "measure": Tiny(
        _measure, (PIXELS, LABELS, WEIGHTS, READ, READ, RESULT, RESULT, RESULT), once=True
    ),
}

# Where each value lies, the same on both devices; images take three times `BATCH` * 64 bytes.
PLACES = {
    "weight": 0,
    "momentum": BYTES,
    "other": 2 * BYTES,
    "labels": 3 * BYTES,
    "weights": 3 * BYTES + 64,
    "rate": 3 * BYTES + 128,
    "keep": 3 * BYTES + 192,
    "loss": 4 * BYTES,
    "top1": 4 * BYTES + 64,
    "top5": 4 * BYTES + 128,
    "images": 5 * BYTES,
}
ARENA = PLACES["images"] + prod(SHAPE)


@lru_cache(maxsize=1)
def compiled() -> Path:
    """The folder of the plan."""
    return compile_into(new_folder(), KERNELS)


def _tensor(name: str, device: int, dtype: Any, shape: tuple[int, ...], place: str = "") -> Tensor:
    rank = len(shape)
    layout = Layout(
        shape=shape,
        padded=(-(-shape[0] // LANES) * LANES, *shape[1:]) if shape else (),
        splits=((0, LANES),) if shape else (),
        order=(0, *range(2, rank + 1), 1) if shape else (),
    )
    size = prod(layout.padded) * ITEM[dtype]
    offset = PLACES[place or name]
    return Tensor(name=name, device=device, offset=offset, bytes=size, dtype=dtype, layout=layout)


def _feed(device: int, name: str, logical: str = "", below: int = 0) -> Feed:
    kinds = {"images": ("u8", SHAPE), "labels": ("i32", (BATCH,)), "weights": ("f32", (BATCH,))}
    dtype, shape = kinds.get(name, ("f32", ()))
    return Feed(tensor=_tensor(name, device, dtype, shape), logical=logical or name, below=below)


def _run(index: int, device: int, name: str, *operands: str) -> Run:
    arguments = zip(operands, KERNELS[name].operands, strict=True)
    return Run(
        index=index,
        device=device,
        kernel=name,
        offsets=tuple(PLACES[operand] for operand in operands),
        writes=tuple(operand for operand, (_, _, access) in arguments if access != "read"),
    )


def _program(*, train: bool) -> Program:
    update = [
        _run(device, device, "learn", "images", "weights", "rate", "keep", "weight", "momentum")
        for device in (0, 1)
    ]
    first = len(update) if train else 0
    move = Move(
        index=first,
        value="weight1",
        source=1,
        source_offset=PLACES["weight"],
        target=0,
        target_offset=PLACES["other"],
        bytes=BYTES,
    )
    operands = ("images", "labels", "weights", "weight", "other", "loss", "top1", "top5")
    measure = _run(first + 1, 0, "measure", *operands)
    feeds = [_feed(0, "images"), _feed(0, "labels", below=10), _feed(0, "weights")]
    if train:
        feeds += [_feed(1, "images"), _feed(1, "weights")]
        for device in (0, 1):
            feeds += [_feed(device, "rate", "x.weight.rate"), _feed(device, "keep", "momentum")]
    return Program(
        batch=BATCH,
        feeds=tuple(feeds),
        fills=(),
        steps=(*(update if train else ()), move, measure),
        outputs=tuple(_tensor(name, 0, "f32", ()) for name in ("loss", "top1", "top5")),
    )


def learner() -> Plan:
    """Programs train and evaluate; its kernels lie in `compiled()`, to be copied beside it."""
    folder = compiled()
    states = tuple(
        State(
            tensor=_tensor(f"{name}{device}", device, "f32", (SIZE, 1), name),
            kind="param" if std else "state",
            logical=logical,
            whole=(2 * SIZE, 1),
            start=(device * SIZE, 0),
            value=0.0,
            std=std,
            rate=1.0,
            copies="",
        )
        for device in (0, 1)
        for name, logical, std in (
            ("weight", "x.weight", 0.5),
            ("momentum", "x.weight.momentum", 0.0),
        )
    )
    return Plan(
        version=VERSION,
        predicted=GUESSES["cpu"],
        name="learner",
        target={"kind": "cpu"},
        versions={"tandem": "0"},
        binding=("cpu:0", "cpu:1"),
        accumulate=1,
        precision="fp32",
        library={RUNTIME: sha256(folder / RUNTIME)},
        devices=(Device(arena=ARENA, lower_bound=ARENA),) * 2,
        kernels={name: kernel(name, tiny, folder) for name, tiny in KERNELS.items()},
        states=states,
        programs={"train": _program(train=True), "evaluate": _program(train=False)},
    )
