"""Images lie in memory as they are fed; kernels read them there and give vectors of images."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.kernels.cpu.images import images
from codegen.layout import LANES, Blocked
from ir.eval import run_graph
from ir.graph import Graph, Node
from ir.op import Array
from ir.ops import apply
from ir.plan import Feed, Program, Tensor
from ir.type import DType, TensorType
from runtime.feeds import Feeds
from runtime.packing import pack, unpack
from tests.counts import cases
from tests.graphs import SEEDS
from tests.kernels import EMULATED, Kernel, as_region, host
from tests.operands import random_values

BATCHES = st.sampled_from((1, 5, 16, 33))
RANKS = st.lists(st.integers(1, 5), min_size=1, max_size=3)


# ---------------------------------------------------------------------------- layout


@pytest.mark.parametrize("lanes", LANES.values())
@given(inner=RANKS, count=st.integers(1, 70), seed=SEEDS)
def test_bytes_lie_as_they_are_fed(lanes: int, inner: list[int], count: int, seed: int) -> None:
    blocked, bytes_ = Blocked(lanes), TensorType((count, *inner), DType.U8)
    value = np.random.default_rng(seed).integers(0, 256, bytes_.shape, np.uint8)
    packed = pack(value, blocked.record(bytes_)).reshape(-1)
    assert packed.size == blocked.bytes(bytes_)
    assert packed[: value.size].tobytes() == value.tobytes()
    assert not packed[value.size :].any()
    assert np.array_equal(unpack(packed, blocked.record(bytes_)), value)


@pytest.mark.parametrize("lanes", LANES.values())
@given(inner=RANKS, count=st.integers(1, 70), dtype=st.sampled_from((DType.F32, DType.I32)))
def test_all_else_lies_in_blocks(lanes: int, inner: list[int], count: int, dtype: DType) -> None:
    blocked, type = Blocked(lanes), TensorType((count, *inner), dtype)
    value = np.arange(type.elements, dtype=np.int32).reshape(type.shape)
    packed = pack(value, blocked.record(type)).reshape(blocked.shape(type))
    for block, *rest, lane in np.ndindex(*packed.shape):
        image = block * lanes + lane
        assert packed[block, *rest, lane] == (value[image, *rest] if image < count else 0)


def test_a_view_of_bytes_lies_as_they_do() -> None:
    """Flatten may be done in place."""
    whole, flat = TensorType((5, 2, 3, 3), DType.U8), TensorType((5, 18), DType.U8)
    value = np.arange(90, dtype=np.uint8).reshape(whole.shape)
    one, other = (pack(value.reshape(t.shape), Blocked(16).record(t)) for t in (whole, flat))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("lanes", LANES.values())
def test_full_blocks_of_images_are_fed_without_a_copy(lanes: int) -> None:
    type = TensorType((2 * lanes, 3, 4, 4), DType.U8)
    layout = Blocked(lanes).record(type)
    tensor = Tensor(name="x", device=0, offset=0, bytes=type.bytes, dtype="u8", layout=layout)
    feed = Feed(tensor=tensor, logical="x", below=0)
    feeds = Feeds(Program(batch=1, feeds=(feed,), fills=(), steps=(), outputs=()))
    value = np.zeros(type.shape, np.uint8)
    (part,) = feeds.pack("x", value).parts
    assert np.shares_memory(part, value)


# ---------------------------------------------------------------------------- kernels


@cases(full=60, sample=8)
@given(seed=SEEDS, batch=BATCHES)
def test_rows_of_images_equal_the_oracle(seed: int, batch: int) -> None:
    """To the last bit, for all sizes, crops and threads, in the family made for it."""
    rng = Random(seed)
    graph = preparation(rng, batch, rng.randint(16, 50))
    kernel = Kernel(graph)
    assert not isinstance(images(kernel.region.graph, host()), str)
    feeds = at_the_edges(graph, rng)
    found = expect_oracle(kernel, feeds)
    for threads in (3, 40):
        again = kernel.run(feeds, threads)
        assert all(again[name].tobytes() == value.tobytes() for name, value in found.items())


@cases(full=30, sample=4)
@given(seed=SEEDS, batch=BATCHES)
def test_narrow_images_equal_the_oracle(seed: int, batch: int) -> None:
    """Read one by one."""
    rng = Random(seed)
    graph = preparation(rng, batch, rng.randint(1, 15))
    kernel = Kernel(graph)
    assert isinstance(images(kernel.region.graph, host()), str)
    expect_oracle(kernel, at_the_edges(graph, rng))


@cases(full=30, sample=4)
@given(seed=SEEDS, batch=BATCHES)
def test_images_on_a_gpu_equal_the_oracle(seed: int, batch: int) -> None:
    rng = Random(seed)
    graph = preparation(rng, batch, rng.randint(1, 20))
    expect_oracle(Kernel(graph, EMULATED), at_the_edges(graph, rng))


@cases(full=20, sample=4)
@given(seed=SEEDS, batch=BATCHES)
def test_bytes_may_be_results(seed: int, batch: int) -> None:
    """Crops of images are stored as images are."""
    rng = Random(seed)
    x = leaf("x", batch, 2, 9, rng.randint(7, 30), dtype=DType.U8)
    y = cropped(rng, x)
    graph = Graph("bytes", (*y.inputs, y), (y,))
    feeds = at_the_edges(graph, rng)
    for target in (host(), EMULATED):
        expect_oracle(Kernel(graph, target), feeds)


def test_what_the_family_does_not_take_is_said() -> None:
    x, other = leaf("x", 4, 3, 20, 20, dtype=DType.U8), leaf("other", 4, 3, 20, 20)
    floats = apply("cast", x, name="floats", to="f32")
    halves = apply("scale", other, name="halves", by=0.5)
    pooled = apply("max_pool", floats, name="pooled", window=(2, 2))
    for nodes, reason in (
        ((x, floats, pooled), "max_pool is no op of this family"),
        ((other, halves), "it reads other values than images of bytes"),
        ((x, other, floats, halves), "it reads other values than images of bytes"),
    ):
        outputs = tuple(n for n in nodes if n.inputs and n not in nodes[-1].inputs)
        region = as_region(Graph("refused", nodes, outputs))
        assert images(region.graph, host()) == reason


# ---------------------------------------------------------------------------- programs


def preparation(rng: Random, batch: int, width: int) -> Graph:
    """From stored images to what a network reads, results as wide as asked."""
    nodes: list[Node] = []

    def take(node: Node) -> Node:
        nodes.extend(n for n in (*node.inputs, node) if n not in nodes)
        return node

    room, maps = rng.randint(0, 6), rng.choice((1, 3, 17))
    shape = batch, maps, rng.randint(1, 6) + room, width + room
    steps = rng.sample(("center", "channel_shift", "scale", "scale_by", "relu"), rng.randint(0, 4))
    x = leaf("x", *shape, dtype=DType.U8)
    place = rng.randint(-1, len(steps))
    if place < 0:
        x = take(cropped(rng, x, room))
    x = take(apply("cast", x, name="cast", to="f32"))
    for number, op in enumerate(steps):
        if number == place:
            x = take(cropped(rng, x, room))
        x = take(_step(op, x))
    if place == len(steps):
        x = take(cropped(rng, x, room))
    y = take(apply("relu", x, name="last"))
    return Graph("preparation", tuple(nodes), rng.choice(((y,), (x, y))))


def _step(op: str, x: Node) -> Node:
    if op == "center":
        return apply(op, x, leaf("mean", *x.type.shape[1:]), name=op)
    if op == "channel_shift":
        return apply(op, x, leaf("shift", *x.type.shape[:2]), name=op)
    if op == "scale_by":
        return apply(op, x, leaf("gain"), name=op)
    if op == "scale":
        return apply(op, x, name=op, by=1 / 64)
    return apply(op, x, name=op)


def cropped(rng: Random, x: Node, room: int | None = None) -> Node:
    """Smaller by the room, at least in width by as much."""
    batch, _, height, width = x.type.shape
    room = rng.randint(0, min(height, width) - 1) if room is None else room
    offset = leaf("offset", batch, 2, dtype=DType.I32)
    flip = leaf("flip", batch, dtype=DType.I32)
    return apply("crop", x, offset, flip, name="crop", size=(height - room, width - room))


def leaf(name: str, *shape: int, dtype: DType = DType.F32) -> Node:
    """An operand."""
    return apply("input", name=name, type=TensorType(shape, dtype))


def at_the_edges(graph: Graph, rng: Random) -> dict[str, Array]:
    """Random values; many crops begin or end with the image."""
    feeds = random_values(graph, rng)
    # Exact, whether or not it is fused with a sum.
    feeds["gain"] = np.asarray(0.5, np.float32)
    for crop in (node for node in graph.nodes if node.op == "crop"):
        room = crop.inputs[0].type.shape[2] - crop.type.shape[2]
        for index in np.ndindex(*feeds["offset"].shape):
            feeds["offset"][index] = rng.choice((0, room, rng.randint(0, room)))
    return {leaf.name: feeds[leaf.name] for leaf in graph.leaves("input")}


def expect_oracle(kernel: Kernel, feeds: dict[str, Array]) -> dict[str, Array]:
    """Nothing is rounded but in each operation, in an order that the program gives."""
    found = kernel.run(feeds)
    expected = run_graph(kernel.graph, feeds, np.float32).outputs
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name
    return found
