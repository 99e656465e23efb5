"""--precision from the network to the states of a run, with NumPy in the place of kernels."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from msgspec.structs import replace

from codegen.assemble import Assembled, Options, assemble
from codegen.plandiff import differences
from codegen.summary import summary
from codegen.targets import Cuda
from codegen.validate import Divergence, validate
from ir.command import Error
from ir.graph import Graph
from ir.op import Array
from ir.ops.precision import rounded
from ir.plan import Plan, check, read, write
from ir.text import parse
from ir.type import DType
from passes.context import Precision
from runtime import checkpoint
from runtime.checkpoint import Counters
from runtime.memory import read_tensor
from runtime.numerics import Checked, NumericsError
from runtime.state import States
from tests.closeness import assert_close
from tests.counts import cases
from tests.graphs import networks
from tests.models import SMALL
from tests.oracle_kernels import Kernel, OracleKernels, single
from tests.uncompiled import skip_compiling

TARGET = Cuda("fast", ("sm_80",), "no compiler")
PROGRAMS = {1: ("train", "evaluate"), 2: ("accumulate", "apply", "evaluate")}
NARROW = "graph g {\n x: bf16[3,4] = input()\n w: f32[4] = param()\n y: bf16[3,4] = relu(x)\n"
NARROW += " z: bf16[3,4] = bias_add(y, w)\n output z\n}"


def planned(graph: Graph, precision: Precision, devices: int, accumulate: int = 1) -> Assembled:
    binding = tuple(f"cuda:{number}" for number in range(devices))
    with pytest.MonkeyPatch.context() as patch:
        skip_compiling(patch)
        return assemble(graph, Options(binding, TARGET, accumulate, precision=precision))


@lru_cache
def small(precision: Precision, devices: int = 2, accumulate: int = 1) -> Assembled:
    return planned(SMALL["tanh-no-dropout"](), precision, devices, accumulate)


def opened(assembled: Assembled, kernel: Kernel = single) -> OracleKernels:
    """With states drawn and every program fed."""
    executor = OracleKernels(assembled, kernel)
    executor.states.initialise(1)
    for name, program in executor.plan.programs.items():
        for feed in program.feeds:
            random = np.random.default_rng(list(feed.logical.encode()))
            shape, dtype = feed.tensor.layout.shape, feed.tensor.dtype
            numbers = random.uniform(0.01, 0.1, shape).astype(np.float32)
            whole = random.integers(0, feed.below or 2, shape)
            executor.feed(name, feed.logical, numbers if dtype == "f32" else whole)
    return executor


def assert_copied(executor: OracleKernels) -> int:
    """Every copy is its parameter, rounded; how many there are."""
    copies = [state for state in executor.plan.states if state.copies]
    for copy in copies:
        box = tuple(
            slice(start, start + extent)
            for start, extent in zip(copy.start, copy.tensor.layout.shape, strict=True)
        )
        master = executor.states.read(copy.copies)[box]
        assert (read_tensor(executor.memories, copy.tensor) == rounded(master, "bf16")).all()
    return len(copies)


# ---------------------------------------------------------------------------------- plans


@cases(full=40, sample=8)
@given(networks())
def test_plans_of_every_precision_keep_all_laws(graph: Graph) -> None:
    for precision in ("fp32", "tf32", "bf16"):
        for accumulate in PROGRAMS:
            plan = planned(graph, precision, 2, accumulate).plan
            assert plan.precision == precision
            assert all(not state.copies for state in plan.states) or precision == "bf16"
            dtypes = {t.dtype for p in plan.programs.values() for t in p.outputs}
            assert dtypes == {"f32"}


def test_a_plan_says_its_precision(tmp_path: Path) -> None:
    plan = small("bf16").plan
    path = tmp_path / "plan.json"
    write(plan, path)
    assert read(path, files=False) == plan
    assert "precision    bf16" in list(summary(small("bf16"), cores=1))
    lines = list(differences(small("fp32").plan, plan))
    assert "plan: precision fp32, now bf16" in lines
    assert "state conv1.weight.0.bf16: added" in lines


def _stale(plan: Plan) -> Plan:
    """One whose kernels read the copies that they should update."""
    copies = {(s.tensor.device, s.tensor.offset) for s in plan.states if s.copies}
    kernels = dict(plan.kernels)
    for step in plan.programs["train"].steps:
        kernel = kernels.get(getattr(step, "kernel", ""))
        if kernel is not None:
            places = [(step.device, offset) for offset in step.offsets]  # type: ignore[union-attr]
            arguments = tuple(
                replace(a, access="read") if place in copies else a
                for a, place in zip(kernel.arguments, places, strict=True)
            )
            kernels[step.kernel] = replace(kernel, arguments=arguments)  # type: ignore[union-attr]
    return replace(plan, kernels=kernels)


def _with_copy(**changes: object) -> Callable[[Plan], Plan]:
    def change(plan: Plan) -> Plan:
        place = next(n for n, state in enumerate(plan.states) if state.copies)
        states = list(plan.states)
        states[place] = replace(states[place], **changes)
        return replace(plan, states=tuple(states))

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_stale, r"update one of '([\w.]+)' and its copy '\1\.bf16', expected both"),
        (_with_copy(copies="conv2.weight"), "no param 'conv2.weight' lies there in the same piece"),
        (_with_copy(copies="conv1.bias"), "no param 'conv1.bias' lies there in the same piece"),
        (_with_copy(copies="conv1.weight.momentum"), "no param 'conv1.weight.momentum' lies there"),
        (_with_copy(kind="param"), "for a param of bf16, expected a state of bf16"),
    ],
)
def test_a_copy_of_nothing_or_a_stale_one_is_refused(
    change: Callable[[Plan], Plan], complaint: str
) -> None:
    with pytest.raises(Error, match=complaint):
        check(change(small("bf16", devices=1).plan), None)


# ---------------------------------------------------------------------------------- runs


@pytest.mark.parametrize("accumulate", PROGRAMS)
@pytest.mark.parametrize("devices", [1, 2])
def test_copies_are_their_parameters_whatever_writes_these(
    devices: int, accumulate: int, tmp_path: Path
) -> None:
    with opened(small("bf16", devices, accumulate)) as executor:
        count = assert_copied(executor)
        assert count == (8 if devices == 1 else 15)
        for program in PROGRAMS[accumulate]:
            executor.run(program)
            assert_copied(executor)
        states = executor.states
        states.write("fc8.weight", np.full(states.shape("fc8.weight"), 1 / 3, np.float32))
        assert_copied(executor)
        path = tmp_path / "a.safetensors"
        checkpoint.save(path, states, Counters(1, 0, 0))
        states.initialise(2)
        assert_copied(executor)
        checkpoint.load(path, states)
        assert_copied(executor)
        assert (states.read("fc8.weight") == np.float32(1 / 3)).all()


def test_checkpoints_fit_plans_of_every_precision(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with opened(small("bf16")) as narrow, opened(small("fp32", devices=1)) as wide:
        assert narrow.states.names == wide.states.names
        assert narrow.states.parameters == wide.states.parameters
        narrow.run("train")
        checkpoint.save(path, narrow.states, Counters(1, 0, 0))
        checkpoint.load(path, wide.states)
        assert stored(wide.states) == stored(narrow.states)
        wide.run("train")
        checkpoint.save(path, wide.states, Counters(2, 0, 0))
        checkpoint.load(path, narrow.states, parameters_only=True)
        assert_copied(narrow)


def stored(states: States) -> dict[str, bytes]:
    return {name: states.read(name).tobytes() for name in states.names}


def test_a_step_of_two_devices_is_that_of_one() -> None:
    with opened(small("bf16", devices=1)) as one, opened(small("bf16", devices=2)) as two:
        losses = [float(each.run("train")()["loss"]) for each in (one, two)]
        assert losses[0] == pytest.approx(losses[1], rel=2**-8)
        for name in one.states.names:
            values = two.states.read(name)
            assert_close(values, one.states.read(name), 2**-6, name)


def test_values_in_bf16_are_fed_and_put_out() -> None:
    with OracleKernels(planned(parse(NARROW), "fp32", 1)) as executor:
        x = np.asarray(np.random.default_rng(0).normal(size=(3, 4)), np.float32)
        executor.states.initialise(0)
        executor.feed("evaluate", "x", x)
        z = executor.run("evaluate")()["z"]
        assert z.dtype == np.float32
        assert (z == np.maximum(rounded(x, "bf16"), 0)).all()


def test_a_nan_in_bf16_is_found() -> None:
    def broken(region: Graph, operands: dict[str, Array]) -> dict[str, Array]:
        results = single(region, operands)
        for node in region.outputs:
            if node.type.dtype is DType.BF16:
                results[node.name] = np.full(node.type.shape, np.nan)
        return results

    with (
        opened(small("bf16"), broken) as executor,
        pytest.raises(NumericsError, match=r"it wrote shifted.bf16: .*NaN"),
    ):
        Checked(executor).run("train")


# ---------------------------------------------------------------------------- validation


def checked(assembled: Assembled, kernel: Kernel) -> int:
    """How many values the validation of all programs saw."""
    with OracleKernels(assembled, kernel) as executor:
        return sum(
            len(list(validate(executor, name, graph, seed=3)))
            for name, graph in assembled.programs.items()
        )


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("accumulate", PROGRAMS)
def test_what_computes_in_float32_is_right(precision: Precision, accumulate: int) -> None:
    assert checked(small(precision, 2, accumulate), single) > 100


def changed(change: Callable[[Array], Array], *, results: bool) -> Kernel:
    """A kernel that alters what contractions read, or what they give in bf16."""

    def kernel(region: Graph, operands: dict[str, Array]) -> dict[str, Array]:
        if not any(node.op.startswith(("conv", "dense")) for node in region.nodes):
            return single(region, operands)
        if not results:
            return single(region, {n: change(x) for n, x in operands.items()})
        narrow = {n.name for n in region.outputs if n.type.dtype is DType.BF16}
        found = single(region, operands)
        return {n: change(x) if n in narrow else x for n, x in found.items()}

    return kernel


def toward_zero(x: Array) -> Array:
    """Half of what rounds up is taken down, as where bits are cut off."""
    return np.where(np.arange(x.size).reshape(x.shape) % 2, x * np.float32(1 - 2**-8), x)


@pytest.mark.parametrize(
    ("precision", "kernel"),
    [
        ("bf16", changed(toward_zero, results=True)),
        ("bf16", changed(lambda x: x * np.float32(1 + 2**-10), results=False)),
        ("tf32", changed(lambda x: x * np.float32(1 + 2**-12), results=False)),
    ],
)
def test_what_rounds_otherwise_is_found(precision: Precision, kernel: Kernel) -> None:
    with pytest.raises(Divergence, match="with a relative error"):
        checked(small(precision), kernel)


def test_a_copy_that_is_not_updated_is_found() -> None:
    def forgetful(region: Graph, operands: dict[str, Array]) -> dict[str, Array]:
        narrow = {p.leaf.name for p in region.updates if p.leaf.type.dtype is DType.BF16}
        return {n: x for n, x in single(region, operands).items() if n not in narrow}

    with pytest.raises(Divergence, match=r"writes 'fc8.weight.bf16.next' with a relative error"):
        checked(small("bf16"), forgetful)
