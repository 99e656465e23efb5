"""Programs made at random over three devices compute what NumPy does, and never get stuck."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codegen.cost.speeds import GUESSES
from ir.op import Array
from ir.plan import VERSION, Device, Feed, Move, Plan, Program, Run, check
from tests.counts import cases
from tests.plans import BYTES, KERNELS, RUNTIME, SIZE, compiled, kernel, opened, sha256, tensor

DEVICES, PLACES = 3, 4
BINDINGS = ("cpu:0,cpu:1,cpu:2", "cpu:0,cpu:1,cpu:0", "cpu:0,cpu:0,cpu:0")
START = np.arange(DEVICES * PLACES * SIZE, dtype=np.float32).reshape(DEVICES, PLACES, SIZE)

Step = Run | Move
places = st.integers(0, PLACES - 1)
devices = st.integers(0, DEVICES - 1)


@st.composite
def steps(draw: st.DrawFn) -> tuple[Step, ...]:
    return tuple(draw(st.one_of(runs(index), moves(index))) for index in range(draw(counts)))


counts = st.integers(1, 24)


@st.composite
def runs(draw: st.DrawFn, index: int) -> Run:
    name = draw(st.sampled_from(["add", "halve"]))
    offsets = tuple(draw(places) * BYTES for _ in KERNELS[name].operands)
    return Run(index=index, device=draw(devices), kernel=name, offsets=offsets, writes=())


@st.composite
def moves(draw: st.DrawFn, index: int) -> Move:
    source, target = draw(st.permutations(range(DEVICES)))[:2]
    return Move(
        index=index,
        value="",
        source=source,
        source_offset=draw(places) * BYTES,
        target=target,
        target_offset=draw(places) * BYTES,
        bytes=BYTES,
    )


def _plan(made: tuple[Step, ...]) -> Plan:
    tensors = [
        tensor(f"x{device}{place}", device, place * BYTES)
        for device in range(DEVICES)
        for place in range(PLACES)
    ]
    program = Program(
        batch=1,
        feeds=tuple(Feed(tensor=each, logical=each.name, below=0) for each in tensors),
        fills=(),
        steps=made,
        outputs=tuple(tensors),
    )
    folder = compiled()
    return Plan(
        version=VERSION,
        predicted=GUESSES["cpu"],
        name="random",
        target={},
        versions={},
        binding=("cpu:0",) * DEVICES,
        accumulate=1,
        precision="fp32",
        library={RUNTIME: sha256(folder / RUNTIME)},
        devices=(Device(arena=PLACES * BYTES, lower_bound=0),) * DEVICES,
        kernels={name: kernel(name, tiny, folder) for name, tiny in KERNELS.items()},
        states=(),
        programs={"all": program},
    )


def _reference(made: tuple[Step, ...]) -> Array:
    arenas = START.copy()
    for step in made:
        if isinstance(step, Move):
            source = arenas[step.source, step.source_offset // BYTES]
            arenas[step.target, step.target_offset // BYTES] = source
        else:
            *operands, result = (offset // BYTES for offset in step.offsets)
            values = [arenas[step.device, place] for place in operands]
            factor = np.float32(0.5 if step.kernel == "halve" else 1)
            arenas[step.device, result] = sum(values[1:], values[0]) * factor
    return arenas


@cases(full=400, sample=25)
@given(made=steps())
def test_random_programs_compute_what_numpy_does(made: tuple[Step, ...]) -> None:
    plan = _plan(made)
    check(plan, None)
    expected = _reference(made)
    for binding in BINDINGS:
        with opened(plan, binding=binding, threads=3) as executor:
            for device, arena in enumerate(START):
                for place, value in enumerate(arena):
                    executor.feed("all", f"x{device}{place}", value)
            for _ in range(2):
                executor.run("all")
                got = [executor.read(each) for each in plan.programs["all"].outputs]
                np.testing.assert_array_equal(np.reshape(got, START.shape), expected)
