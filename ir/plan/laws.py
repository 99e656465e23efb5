"""What every plan keeps, beyond the types of its records.

Each law yields its complaints as "JSON path: what, what was expected". Laws further down `LAWS`
may rely on those before.
"""

from collections.abc import Iterator
from math import isfinite, prod
from pathlib import Path

from ir.plan import code, dataflow, states
from ir.plan.bounds import MOST_BYTES, Complaints, at_least
from ir.plan.records import (
    ALIGNMENT,
    ITEM_BYTES,
    VERSION,
    Layout,
    Move,
    Plan,
    Program,
    Run,
    Tensor,
)


def complaints(plan: Plan, directory: Path | None) -> Complaints:
    """Everything wrong with a plan, the simplest first; its files lie in `directory`, if any."""
    for law in LAWS:
        yield from law(plan)
    if directory is not None:
        yield from code.missing(plan, directory)


# ----------------------------------------------------------------------- sizes and names


def _header(plan: Plan) -> Complaints:
    if plan.version != VERSION:
        yield f"$.version: got {plan.version}, expected {VERSION}"
    if not plan.devices:
        yield "$.devices: empty, expected at least one device"
    if len(plan.binding) != len(plan.devices):
        got, expected = len(plan.binding), len(plan.devices)
        yield f"$.binding: names {got} devices, expected one for each of the plan's {expected}"
    yield from at_least("$.accumulate", plan.accumulate, 1)
    if not plan.programs:
        yield "$.programs: empty, expected at least one program"


def _sizes(plan: Plan) -> Complaints:
    for number, device in enumerate(plan.devices):
        yield from at_least(f"$.devices[{number}].arena", device.arena, 0, MOST_BYTES)
        bound = device.lower_bound
        yield from at_least(f"$.devices[{number}].lower_bound", bound, 0, device.arena)
    for name, program in plan.programs.items():
        yield from at_least(f"$.programs.{name}.batch", program.batch, 1)


def _distinct_names(plan: Plan) -> Complaints:
    kept = [(f"$.states[{i}].tensor", s.tensor) for i, s in enumerate(plan.states)]
    for where, program in _programs(plan):
        fed = _given(where, program)
        outputs = [(f"{where}.outputs[{i}]", t) for i, t in enumerate(program.outputs)]
        for group in (kept + fed, outputs):
            seen: set[tuple[str, int]] = set()
            for path, tensor in group:
                if (tensor.name, tensor.device) in seen:
                    yield f"{path}.name: '{tensor.name}' is taken already, expected a new name"
                seen.add((tensor.name, tensor.device))


# ----------------------------------------------------------------------------- tensors


def _programs(plan: Plan) -> Iterator[tuple[str, Program]]:
    return ((f"$.programs.{name}", program) for name, program in plan.programs.items())


def _given(where: str, program: Program) -> list[tuple[str, Tensor]]:
    """What the host writes before the steps."""
    feeds = [(f"{where}.feeds[{i}].tensor", f.tensor) for i, f in enumerate(program.feeds)]
    return feeds + [(f"{where}.fills[{i}].tensor", f.tensor) for i, f in enumerate(program.fills)]


def _tensors(plan: Plan) -> Complaints:
    tensors = [(f"$.states[{i}].tensor", state.tensor) for i, state in enumerate(plan.states)]
    for where, program in _programs(plan):
        tensors += _given(where, program)
        tensors += [(f"{where}.outputs[{i}]", t) for i, t in enumerate(program.outputs)]
    for path, tensor in tensors:
        yield from _layout(f"{path}.layout", tensor.layout)
        expected = prod(tensor.layout.padded) * ITEM_BYTES[tensor.dtype]
        if tensor.bytes != expected:
            yield f"{path}.bytes: got {tensor.bytes}, expected {expected} as its layout says"
        if not tensor.name:
            yield f"{path}.name: empty, expected a name"
        yield from _device(plan, f"{path}.device", tensor.device)
        yield from _extent(plan, f"{path}.offset", tensor.device, tensor.offset, tensor.bytes)


def _layout(path: str, layout: Layout) -> Complaints:
    rank = len(layout.shape)
    if len(layout.padded) != rank:
        yield f"{path}.padded: {len(layout.padded)} extents, expected {rank} as in shape"
        return
    for axis, (extent, padded) in enumerate(zip(layout.shape, layout.padded, strict=True)):
        yield from at_least(f"{path}.shape[{axis}]", extent, 1)
        yield from at_least(f"{path}.padded[{axis}]", padded, extent)
    axes = [axis for axis, _ in layout.splits]
    if axes != sorted({axis for axis in axes if 0 <= axis < rank}):
        yield f"{path}.splits: of axes {axes}, expected axes below {rank}, each once and in order"
        return
    for number, (axis, factor) in enumerate(layout.splits):
        if factor < 1 or layout.padded[axis] % factor:
            extent = layout.padded[axis]
            yield f"{path}.splits[{number}]: factor {factor}, expected a divisor of {extent}"
    if sorted(layout.order) != list(range(rank + len(axes))):
        got, expected = list(layout.order), rank + len(axes)
        yield f"{path}.order: got {got}, expected a permutation of {expected} axes"


def _device(plan: Plan, path: str, device: int) -> Complaints:
    if not 0 <= device < len(plan.devices):
        yield f"{path}: no device {device}, expected one below {len(plan.devices)}"


def _extent(plan: Plan, path: str, device: int, offset: int, size: int) -> Complaints:
    arena = plan.devices[device].arena
    if offset % ALIGNMENT:
        yield f"{path}: got {offset}, expected a multiple of {ALIGNMENT}"
    if not 0 <= offset <= arena - size:
        yield f"{path}: [{offset}, {offset + size}), expected inside the arena [0, {arena})"


# ------------------------------------------------------------------------------ programs


def _feeds(plan: Plan) -> Complaints:
    for where, program in _programs(plan):
        first: dict[str, tuple[object, ...]] = {}
        for number, feed in enumerate(program.feeds):
            path, tensor = f"{where}.feeds[{number}]", feed.tensor
            yield from at_least(f"{path}.below", feed.below, 0)
            if feed.below and tensor.dtype in ("f32", "bf16"):
                yield f"{path}.below: got {feed.below}, expected 0 for {tensor.dtype}"
            if not feed.logical:
                yield f"{path}.logical: empty, expected the name to feed"
            kind = (tensor.layout.shape, tensor.dtype, feed.below)
            if first.setdefault(feed.logical, kind) != kind:
                yield f"{path}: expected shape, type and below of the other '{feed.logical}'"
        for number, fill in enumerate(program.fills):
            if not isfinite(fill.value):
                yield f"{where}.fills[{number}].value: got {fill.value}, expected a finite number"


def _steps(plan: Plan) -> Complaints:
    for where, program in _programs(plan):
        for number, step in enumerate(program.steps):
            path = f"{where}.steps[{number}]"
            if step.index != number:
                yield f"{path}.index: got {step.index}, expected {number}"
            yield from _run(plan, path, step) if isinstance(step, Run) else _move(plan, path, step)


def _run(plan: Plan, path: str, step: Run) -> Complaints:
    yield from _device(plan, f"{path}.device", step.device)
    kernel = plan.kernels.get(step.kernel)
    if kernel is None:
        yield f"{path}.kernel: no kernel '{step.kernel}' in $.kernels"
        return
    if len(step.offsets) != len(kernel.arguments):
        got, expected = len(step.offsets), len(kernel.arguments)
        yield f"{path}.offsets: {got} of them, expected {expected} as '{step.kernel}' takes"
        return
    for number, (offset, argument) in enumerate(zip(step.offsets, kernel.arguments, strict=True)):
        where = f"{path}.offsets[{number}]"
        yield from _extent(plan, where, step.device, offset, argument.bytes)


def _move(plan: Plan, path: str, step: Move) -> Complaints:
    yield from _device(plan, f"{path}.source", step.source)
    yield from _device(plan, f"{path}.target", step.target)
    if step.source == step.target:
        yield f"{path}.target: got {step.target}, expected another device than the source"
    yield from at_least(f"{path}.bytes", step.bytes, 1, MOST_BYTES)
    yield from _extent(plan, f"{path}.source_offset", step.source, step.source_offset, step.bytes)
    yield from _extent(plan, f"{path}.target_offset", step.target, step.target_offset, step.bytes)


LAWS = (
    _header,
    _sizes,
    code.complaints,
    _tensors,
    _distinct_names,
    states.complaints,
    _feeds,
    _steps,
    states.stale,
    dataflow.complaints,
)
