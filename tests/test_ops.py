"""Laws that every row of the op table keeps."""

from collections.abc import Callable
from dataclasses import fields
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from ir.eval import in_type, run_graph
from ir.graph import Node
from ir.op import Absent, Array, Fusion, Local, Op, Param, Read, Shards, Whole
from ir.ops import TABLE, apply
from ir.type import DType, TensorType
from tests.counts import cases
from tests.graphs import SEEDS
from tests.op_cases import CASES, Case, adjoint, draw_case, reference, run_adjoint

COMPUTED = [op for op, row in TABLE.items() if not row.is_leaf]
DIFFERENTIABLE = [
    (op, operand)
    for op, row in TABLE.items()
    if not isinstance(row.gradient, Absent)
    for operand, rule in row.gradient.items()
    if not isinstance(rule, Absent)
]
SPLITTABLE = [op for op, row in TABLE.items() if not isinstance(row.split, Absent)]
POINTWISE = [op for op, row in TABLE.items() if row.fusion is Fusion.POINTWISE]


# ---------------------------------------------------------------------------- cells


def test_every_row_has_cases() -> None:
    assert list(CASES) == list(TABLE)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_no_cell_is_empty(row: Op) -> None:
    for cell in fields(row):
        value = getattr(row, cell.name)
        reasons = value.values() if isinstance(value, dict) else [value]
        may_be_empty = cell.name == "attrs" or (cell.name == "operands" and row.is_leaf)
        assert may_be_empty or (value is not None and value not in ((), "", {})), cell.name
        assert all(reason.reason for reason in reasons if isinstance(reason, Absent)), cell.name


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_cells_name_operands_of_the_row(row: Op) -> None:
    operands = {name.lstrip("*") for name in row.operands}
    for cell in (row.gradient, row.alias):
        assert isinstance(cell, Absent) or set(cell) <= operands


@pytest.mark.parametrize("op", COMPUTED)
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_every_float_operand_has_a_gradient_or_a_reason(op: str, seed: int) -> None:
    row, case = TABLE[op], draw_case(op, Random(seed))
    if not isinstance(row.gradient, Absent):
        for index, operand in enumerate(case.node.inputs):
            assert not operand.type.dtype.is_float or row.operand_name(index) in row.gradient


@pytest.mark.parametrize("op", TABLE)
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_costs_are_counts(op: str, seed: int) -> None:
    row, node = TABLE[op], draw_case(op, Random(seed)).node
    for cost in (row.flops, row.bytes):
        count = cost(node.type, *(operand.type for operand in node.inputs), **node.attrs)
        assert type(count) is int
        assert count >= 0
    assert row.is_leaf == (row.bytes(node.type, *(i.type for i in node.inputs), **node.attrs) == 0)


@pytest.mark.parametrize("op", COMPUTED)
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_a_result_fits_the_memory_it_may_take_over(op: str, seed: int) -> None:
    row, node = TABLE[op], draw_case(op, Random(seed)).node
    if not isinstance(row.alias, Absent):
        taken = [i for n, i in enumerate(node.inputs) if row.operand_name(n) in row.alias]
        assert taken
        assert all(operand.type.bytes == node.type.bytes for operand in taken)


# ---------------------------------------------------------------------------- types


@pytest.mark.parametrize("op", TABLE)
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_the_oracle_gives_the_inferred_type(op: str, seed: int) -> None:
    case = draw_case(op, Random(seed))
    node = case.node
    for precision in (np.float64, np.float32):
        value = run_graph(case.graph, case.feeds, precision).outputs[node.name]
        assert value.shape == node.type.shape
        assert value.dtype == in_type(np.zeros(()), node.type, precision).dtype


@pytest.mark.parametrize("op", [op for op in COMPUTED if op != "cast"])
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_references_compute_in_the_precision_of_their_operands(op: str, seed: int) -> None:
    case = draw_case(op, Random(seed))
    for precision in (np.float64, np.float32):
        operands = [in_type(case.feeds[i.name], i.type, precision) for i in case.node.inputs]
        value = np.asarray(reference(case.node, operands))
        assert value.shape == case.node.type.shape
        assert value.dtype == in_type(np.zeros(()), case.node.type, precision).dtype


@pytest.mark.parametrize("op", COMPUTED)
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_a_result_lies_where_its_operands_do(op: str, seed: int) -> None:
    node = draw_case(op, Random(seed)).node
    if op == "transfer":
        assert node.device not in (None, node.inputs[0].device)
    else:
        assert all(operand.device == node.device for operand in node.inputs)


# ---------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(("op", "operand"), DIFFERENTIABLE)
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_a_gradient_is_the_derivative(op: str, operand: str, seed: int) -> None:
    rng = Random(seed)
    case = draw_case(op, rng, exact=True)
    index = rng.choice([i for i in range(len(case.values)) if TABLE[op].operand_name(i) == operand])
    noise = np.random.default_rng(seed)
    dy = noise.standard_normal(case.node.type.shape)
    direction = noise.uniform(-1, 1, case.values[index].shape)
    gradient = run_adjoint(case, index, dy)
    exact, measured = inner(gradient, direction), derivative(case, index, direction, dy)
    # Two vectors may happen to be orthogonal: their product is no smaller than what it sums.
    typical = np.linalg.norm(gradient) * np.linalg.norm(direction) / direction.size**0.5
    assert abs(exact - measured) <= 1e-6 * max(abs(exact), abs(measured), float(typical), 1e-3)


@pytest.mark.parametrize(("op", "operand"), DIFFERENTIABLE)
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_a_gradient_has_the_type_of_its_operand(op: str, operand: str, seed: int) -> None:
    case = draw_case(op, Random(seed))
    for index, leaf in enumerate(case.node.inputs):
        if TABLE[op].operand_name(index) == operand and leaf.type.dtype.is_float:
            gradient = adjoint(case, index).outputs[0]
            # Sums over images stay f32, whatever the operand is kept in.
            summed = gradient.op.endswith("_dw")
            assert gradient.type == (leaf.type.with_dtype(DType.F32) if summed else leaf.type)


@pytest.mark.parametrize(
    ("op", "operand"), [("conv", 0), ("conv", 1), ("local", 0), ("local", 1), ("dense", 0)]
)
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_contractions_and_their_partners_are_adjoint(op: str, operand: int, seed: int) -> None:
    case = draw_case(op, Random(seed), exact=True)
    dy = np.random.default_rng(seed).standard_normal(case.node.type.shape)
    forward = inner(reference(case.node, list(case.values)), dy)
    backward = inner(case.values[operand], run_adjoint(case, operand, dy))
    assert forward == pytest.approx(backward, rel=1e-12, abs=1e-12)


def inner(a: Array, b: Array) -> float:
    return float((np.asarray(a) * b).sum())


def derivative(case: Case, index: int, direction: Array, dy: Array, step: float = 1e-3) -> float:
    """d<y, dy> along a direction: central differences, extrapolated to fourth order."""

    def along(t: float) -> float:
        values = list(case.values)
        values[index] = values[index] + t * direction
        return inner(reference(case.node, values), dy)

    near, far = (
        (along(step / 2) - along(-step / 2)) / step,
        (along(step) - along(-step)) / (2 * step),
    )
    return (4 * near - far) / 3


# ---------------------------------------------------------------------------- splits


@pytest.mark.parametrize("op", SPLITTABLE)
@cases(full=100, sample=15)
@given(seed=SEEDS, parts=st.integers(2, 4))
def test_shards_side_by_side_are_the_whole(op: str, seed: int, parts: int) -> None:
    case = draw_case(op, Random(seed), exact=True)
    rule, node = TABLE[op].split, case.node
    assert not isinstance(rule, Absent)
    shards = rule(parts, *(operand.type for operand in node.inputs), **node.attrs)
    if isinstance(shards, str):
        assert shards, "a refusal has a reason"
        reject()
    assume(node.type.rank > 0)
    whole = reference(node, list(case.values))
    pieces = [run_shard(case, shards, i, parts) for i in range(parts)]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-12, atol=1e-12)


def run_shard(case: Case, shards: Shards, shard: int, parts: int) -> Array:
    values = [
        cut(value, read, shard, parts)
        for value, read in zip(case.values, shards.reads, strict=True)
    ]
    leaves = [
        apply("input", name=leaf.name, type=TensorType(value.shape, leaf.type.dtype))
        for value, leaf in zip(values, case.node.inputs, strict=True)
    ]
    attrs: dict[str, Any] = {**case.node.attrs, **shards.attrs(shard)}
    node = apply(case.node.op, *leaves, name="shard", **attrs)
    result = reference(node, values)
    assert result.shape == node.type.shape
    return result


def cut(value: Array, read: Read, shard: int, parts: int) -> Array:
    match read:
        case Whole():
            return value
        case Local(axis) | Param(axis):
            assert value.shape[axis] % parts == 0
            return np.split(value, parts, axis)[shard]


# ---------------------------------------------------------------------------- fusion kinds


@pytest.mark.parametrize("op", POINTWISE)
@cases(full=100, sample=15)
@given(seed=SEEDS)
def test_pointwise_means_element_by_element(op: str, seed: int) -> None:
    rng = Random(seed)
    case = draw_case(op, rng, exact=True)
    before = reference(case.node, list(case.values))
    full = [i for i, operand in enumerate(case.node.inputs) if operand.type == case.node.type]
    assume(full)
    changed = [value.copy() for value in case.values]
    element = rng.randrange(case.node.type.elements)
    changed[rng.choice(full)].flat[element] += 1
    after = reference(case.node, changed)
    assert set(np.flatnonzero(before != after)) <= {element}


# ---------------------------------------------------------------------------- the cases


def leftover(node: Node, extent: int, window: int) -> int:
    """Rows at the bottom that no window reaches."""
    stride, pad = node.attrs["stride"], node.attrs["pad"]
    assert isinstance(stride, tuple)
    assert isinstance(pad, tuple)
    return (extent + pad[0] + pad[1] - window) % stride[0]


def overhang(node: Node) -> int:
    """Rows by which the last window leaves the image."""
    window, stride, pad = (node.attrs[key] for key in ("window", "stride", "pad"))
    assert isinstance(window, tuple)
    assert isinstance(stride, tuple)
    assert isinstance(pad, tuple)
    last = (node.type.shape[2] - 1) * stride[0] - pad[0]
    return last + window[0] - node.inputs[0].type.shape[2]


FEATURES: dict[tuple[str, str], Callable[[Case], object]] = {
    ("conv", "a stride that leaves rows unread"): lambda c: leftover(
        c.node, c.node.inputs[0].type.shape[2], c.node.inputs[1].type.shape[2]
    ),
    ("conv", "asymmetric pads"): lambda c: len(set(c.node.attrs["pad"])) == 4,  # type: ignore[arg-type]
    ("conv", "groups"): lambda c: c.node.attrs["groups"] == 3,
    ("conv", "a kernel beyond the image"): lambda c: (
        c.node.inputs[1].type.shape[2] > c.node.inputs[0].type.shape[2]
    ),
    ("max_pool", "a clipped window"): lambda c: overhang(c.node) > 0,
    ("max_pool", "unread rows"): lambda c: overhang(c.node) < 0,
    ("avg_pool", "a clipped window"): lambda c: overhang(c.node) > 0,
    ("max_pool", "all ties"): lambda c: c.node.attrs["ties"] == "all",
    ("max_pool", "first tie"): lambda c: c.node.attrs["ties"] == "first",
    ("lrn", "a lopsided window"): lambda c: c.node.attrs["size"] == 2,
    ("lrn", "groups"): lambda c: c.node.attrs["groups"] == 3,
    ("spatial_lrn", "a lopsided window"): lambda c: c.node.attrs["size"] == 2,
    ("cross_entropy", "an image left out"): lambda c: 0 in c.values[2] and c.values[2].any(),
    ("cross_entropy", "no image at all"): lambda c: not c.values[2].any(),
    ("accuracy", "more places than classes"): lambda c: (
        c.node.inputs[0].type.shape[1] < c.node.attrs["top"]  # type: ignore[operator]
    ),
    ("dropout", "a piece"): lambda c: c.node.attrs["offset"],
    ("dropout", "nothing dropped"): lambda c: c.node.attrs["p"] == 0,
    ("param", "a piece"): lambda c: c.node.attrs["offset"],
    ("concat", "one operand"): lambda c: len(c.node.inputs) == 1,
    ("concat", "the images' axis"): lambda c: c.node.attrs["axis"] == 0,
    ("crop", "a mirrored image"): lambda c: c.values[2].any(),
    ("sgd_velocity", "a frozen parameter"): lambda c: c.values[3] == 0,
}


@pytest.mark.parametrize(("op", "feature"), FEATURES)
def test_the_cases_include(op: str, feature: str) -> None:
    show = FEATURES[op, feature]
    assert any(show(draw_case(op, Random(seed), exact=True)) for seed in range(200))
