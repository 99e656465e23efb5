"""The DSL and the models. Every figure of the nets is of the 2012 paper or its program."""

import inspect
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from math import log, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from frontend.alexnet import alexnet
from frontend.cifar import cifar
from frontend.dsl import Model, ModelError, Tensor
from frontend.layers import classify, conv, dense, dropout, images, local, lrn, max_pool, relu
from frontend.oneweirdtrick import oneweirdtrick
from frontend.options import scaled
from frontend.vgg import vgg
from ir.command import Error
from ir.eval import Results, random_feeds, run_graph
from ir.graph import Graph, Node, ancestors
from ir.op import Array, Fusion
from ir.ops import row_of
from ir.printer import print_graph
from ir.text import parse
from ir.verify import verify
from tests.counts import cases

ROOT = Path(__file__).parent.parent

Build = Callable[[], Graph]


def node(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes if node.name == name)


def parameters(graph: Graph, layer: str = "") -> int:
    return sum(p.type.elements for p in graph.leaves("param") if p.name.startswith(layer))


def macs(graph: Graph, layer: str = "") -> int:
    """Forward multiply-adds per image."""
    anchors = [n for n in graph.nodes if row_of(n).fusion is Fusion.ANCHOR]
    flops = sum(
        row_of(n).flops(n.type, *(i.type for i in n.inputs), **n.attrs)
        for n in anchors
        if n.name.startswith(layer)
    )
    return flops // 2 // node(graph, "images").type.shape[0]


def cut(graph: Graph, *names: str) -> Graph:
    """The part of a graph that the named nodes need."""
    outputs = [node(graph, name) for name in names]
    needed = ancestors(outputs)
    return graph.replace(nodes=[n for n in graph.nodes if n in needed], outputs=outputs)


def feeds(graph: Graph, **given: Any) -> dict[str, Array]:
    """Random images around their mean, whole batches, and what is given."""
    fed = random_feeds(graph)
    usual = {"mean": 127.5, "shift": 0.0, "gain": 1 / 1.1, "weights": 1.0} | given
    for name in usual.keys() & fed.keys():
        fed[name] = np.broadcast_to(usual[name], fed[name].shape)
    return fed


def run(graph: Graph, **given: Any) -> Results:
    return run_graph(graph, feeds(graph, **given))


# ---------------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("build", "params", "multiply_adds"),
    [
        (alexnet, 60_965_224, 724_406_816),
        (partial(alexnet, preset="code145"), 60_965_224, 724_406_816),
        (partial(alexnet, one_gpu=True), 59_798_312, 391_514_384),
        (partial(alexnet, towers=1), 62_378_344, 1_135_256_096),
        (partial(alexnet, towers=4), 60_258_664, 518_982_176),
        (partial(alexnet, pool="2/2"), 60_965_224, 686_891_552),
        (partial(alexnet, lrn=False, dropout=0, activation="tanh"), 60_965_224, 724_406_816),
        (partial(alexnet, classes=10), 60_965_224 - 990 * 4097, 724_406_816 - 990 * 4096),
        (partial(cifar, net="13pct", image=32), 1_901_386, 32_919_552),
        (partial(cifar, net="13pct", image=24), 1_116_490, 18_517_248),
        (partial(cifar, net="11pct", image=32), 3_672_906, 34_689_024),
        (partial(cifar, net="11pct", image=24), 2_112_970, 19_512_576),
        (partial(cifar, net="18pct", image=32), 89_578, 12_298_240),
        (partial(cifar, net="18pct", image=24), 85_098, 6_917_760),
        (oneweirdtrick, 61_100_840, 714_188_480),
        (vgg, 132_863_336, 7_609_090_048),
    ],
)
def test_counts(build: Build, params: int, multiply_adds: int) -> None:
    graph = build()
    assert (parameters(graph), macs(graph)) == (params, multiply_adds)


@pytest.mark.parametrize(
    ("layer", "params", "multiply_adds"),
    [
        ("conv1", 34_944, 105_415_200),
        ("conv2", 307_456, 223_948_800),
        ("conv3", 885_120, 149_520_384),
        ("conv4", 663_936, 112_140_288),
        ("conv5", 442_624, 74_760_192),
        ("fc6", 37_752_832, 37_748_736),
        ("fc7", 16_781_312, 16_777_216),
        ("fc8", 4_097_000, 4_096_000),
    ],
)
def test_counts_of_a_layer(layer: str, params: int, multiply_adds: int) -> None:
    graph = alexnet(batch=2)
    assert (parameters(graph, layer), macs(graph, layer)) == (params, multiply_adds)


@pytest.mark.parametrize(
    ("pool", "sizes"), [("3/2", "55 27 27 13 13 13 13 6"), ("2/2", "55 28 26 13 13 13 11 6")]
)
def test_sizes_of_the_maps(pool: str, sizes: str) -> None:
    graph = alexnet(pool=pool)
    names = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]
    assert [node(graph, name).type.shape[3] for name in names] == [*map(int, sizes.split())]


def test_neurons() -> None:
    graph = alexnet(batch=1)
    layers = [n for n in graph.nodes if row_of(n).fusion is Fusion.ANCHOR]
    assert sum(n.type.elements for n in layers) == 659_272


def test_unshared_biases_stand_at_every_position() -> None:
    graph = cifar(net="11pct", image=24)
    assert node(graph, "local3.weight").type.shape == (64, 6, 6, 64, 3, 3)
    assert node(graph, "local3.bias").type.shape == (64, 6, 6)
    assert node(graph, "conv2.bias").type.shape == (64,)


# ---------------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("build", "std", "bias"),
    [
        (alexnet, "0.01 0.01 0.01 0.01 0.01 0.01 0.01 0.01", "0 1 0 1 1 1 1 0"),
        (
            partial(alexnet, preset="code145"),
            "0.01 0.01 0.03 0.03 0.03 0.01 0.01 0.01",
            "0 1 0 1 1 1 1 0",
        ),
        (oneweirdtrick, "0.01 0.01 0.03 0.03 0.03 0.01 0.01 0.01", "0 1 0 1 1 1 1 -7"),
        (partial(cifar, net="11pct"), "0.0001 0.01 0.04 0.04 0.01", "0 0 0 0 0"),
        (partial(cifar, net="18pct"), "0.0001 0.01 0.01 0.01", "0 0 0 0"),
    ],
)
def test_start(build: Build, std: str, bias: str) -> None:
    weights, biases = weights_and_biases(build())
    assert [w.attrs["std"] for w in weights] == [*map(float, std.split())]
    assert [b.attrs["value"] for b in biases] == [*map(float, bias.split())]
    assert {w.attrs["value"] for w in weights} | {b.attrs["std"] for b in biases} == {0.0}


@pytest.mark.parametrize(
    ("build", "decay"),
    [
        (alexnet, "1 1 1 1 1 1 1 1"),
        (partial(cifar, net="13pct"), "0 0 1 1 1"),
        (partial(cifar, net="11pct"), "0 0 1 1 2.5"),
        (partial(cifar, net="18pct"), "1 1 1 250"),
    ],
)
def test_biases_learn_twice_as_fast_and_do_not_decay(build: Build, decay: str) -> None:
    weights, biases = weights_and_biases(build())
    assert [w.attrs["decay"] for w in weights] == [*map(float, decay.split())]
    assert {w.attrs["rate"] for w in weights} == {1.0}
    assert {(b.attrs["rate"], b.attrs["decay"]) for b in biases} == {(2.0, 0.0)}


def weights_and_biases(graph: Graph) -> tuple[list[Node], list[Node]]:
    params = graph.leaves("param")
    weights = [p for p in params if p.name.endswith(".weight")]
    biases = [p for p in params if p.name.endswith(".bias")]
    assert len(weights) + len(biases) == len(params)
    return weights, biases


def test_glorot_start() -> None:
    graph = vgg(batch=1)
    for weight in weights_and_biases(graph)[0]:
        out, into, *taps = weight.type.shape
        assert weight.attrs["std"] == pytest.approx((2 / (out + into) / prod(taps)) ** 0.5)


# ---------------------------------------------------------------------------- order of layers


def ops_between(graph: Graph, first: str, last: str) -> str:
    """The ops from one layer to the next, leaves left out."""
    names = [n.name for n in graph.nodes]
    between = graph.nodes[names.index(first) : names.index(last)]
    return " ".join(n.op for n in between if not row_of(n).is_leaf)


@pytest.mark.parametrize(
    ("options", "block1", "block2", "block5"),
    [
        ({}, "relu lrn max_pool", "relu lrn max_pool", "relu max_pool flatten"),
        ({"lrn": False}, "relu max_pool", "relu max_pool", "relu max_pool flatten"),
        (
            {"preset": "code145"},
            "lrn max_pool relu",
            "relu lrn spatial_lrn max_pool",
            "max_pool relu flatten",
        ),
        (
            {"preset": "code145", "lrn": False, "activation": "tanh"},
            "max_pool tanh",
            "tanh max_pool",
            "max_pool tanh flatten",
        ),
    ],
)
def test_order_of_the_blocks(
    options: dict[str, Any], block1: str, block2: str, block5: str
) -> None:
    graph = alexnet(**options)
    assert ops_between(graph, "conv1", "conv2") == f"conv bias_add {block1}"
    assert ops_between(graph, "conv2", "conv3") == f"conv bias_add {block2}"
    assert ops_between(graph, "conv5", "fc6") == f"conv bias_add {block5}"


@pytest.mark.parametrize(
    ("net", "ops"),
    [
        ("13pct", "{c} relu max_pool {c} relu max_pool {l} relu {l} relu flatten"),
        ("11pct", "{c} relu max_pool lrn {c} relu lrn max_pool {l} relu {l} relu flatten"),
        (
            "18pct",
            "{c} max_pool relu spatial_lrn {c} relu avg_pool spatial_lrn {c} relu avg_pool flatten",
        ),
    ],
)
def test_order_of_the_small_nets(net: str, ops: str) -> None:
    expected = ops.format(c="conv bias_add", l="local bias_add")
    assert ops_between(cifar(net=net), "conv1", "fc10") == expected


def test_order_of_the_one_tower_net() -> None:
    graph = oneweirdtrick()
    assert ops_between(graph, "conv1", "conv2") == "conv bias_add lrn max_pool relu"
    assert ops_between(graph, "conv2", "conv3") == "conv bias_add relu lrn max_pool"
    assert ops_between(graph, "conv5", "fc6") == "conv bias_add max_pool relu flatten"


def test_constants_of_the_normalisations() -> None:
    def constants(graph: Graph, name: str) -> list[object]:
        return [node(graph, name).attrs[key] for key in ("size", "k", "alpha", "beta")]

    assert constants(alexnet(), "norm1") == [5, 2.0, 1e-4, 0.75]
    assert constants(alexnet(preset="code145"), "norm2") == [5, 2.0, pytest.approx(2e-5), 0.75]
    assert constants(alexnet(preset="code145"), "spatial2") == [5, 1.0, pytest.approx(4e-5), 0.75]
    assert constants(cifar(net="11pct"), "norm1") == [9, 1.0, pytest.approx(1e-3 / 9), 0.75]
    assert constants(cifar(net="18pct"), "norm2") == [3, 1.0, pytest.approx(5e-5 / 9), 0.75]


@pytest.mark.parametrize("towers", [1, 2, 4])
def test_groups_follow_the_towers(towers: int) -> None:
    graph = alexnet(towers=towers)
    groups = {n.name: n.attrs["groups"] for n in graph.nodes if "groups" in n.attrs}
    grouped = dict.fromkeys(("norm1", "conv2", "norm2", "conv4", "conv5"), towers)
    assert groups == {"conv1": 1, "conv3": 1} | grouped


def test_only_the_last_layer_stays_whole() -> None:
    assert [n.name for n in alexnet().nodes if n.op in ("conv", "dense") and n.attrs["whole"]] == [
        "fc8"
    ]


def test_dropout_streams_are_numbered_and_share_their_key() -> None:
    drops = [n for n in alexnet(dropout=0.25).nodes if n.op == "dropout"]
    assert [(n.name, n.attrs["stream"], n.attrs["p"]) for n in drops] == [
        ("drop6", 0, 0.25),
        ("drop7", 1, 0.25),
    ]
    assert drops[0].inputs[1:] == drops[1].inputs[1:]
    assert "dropout" not in Counter(n.op for n in alexnet(dropout=0).nodes)


def test_ties_reach_every_pool() -> None:
    pools = [n for n in alexnet(ties="first").nodes if n.op == "max_pool"]
    assert [n.attrs["ties"] for n in pools] == ["first"] * 3


@pytest.mark.parametrize("one_gpu", [False, True])
def test_width(one_gpu: bool) -> None:
    wide, half = alexnet(one_gpu=one_gpu), alexnet(one_gpu=one_gpu, width=0.5)
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"):
        assert node(half, layer).type.shape[1] * 2 == node(wide, layer).type.shape[1]
    assert node(half, "fc8").type == node(wide, "fc8").type


@given(st.integers(1, 4096), st.floats(0, 1000, exclude_min=True), st.sampled_from((1, 2, 4)))
@cases(full=1000, sample=100)
def test_scaled_counts_divide_over_the_towers(count: int, width: float, towers: int) -> None:
    found = scaled(count, width, towers)
    assert found > 0
    assert found % towers == 0
    assert found == towers or abs(found - count * width) <= towers / 2


# ---------------------------------------------------------------------------- sizes of windows


@given(
    size=st.integers(1, 40),
    window=st.integers(1, 12),
    stride=st.integers(1, 5),
    pad=st.integers(0, 3),
)
@cases(full=2000, sample=200)
@example(size=224, window=11, stride=4, pad=0)
def test_the_fewest_windows_that_cover_the_image(
    size: int, window: int, stride: int, pad: int
) -> None:
    model = Model("m", 1)
    x = model.input("x", 1, 1, size, size)
    if size + 2 * pad <= window - stride:
        with pytest.raises(ModelError, match="expected at least"):
            conv(x, "layer", 1, window, stride=stride, pad=pad)
        return
    y = conv(x, "layer", 1, window, stride=stride, pad=pad)
    fewest = next(n for n in range(1, 99) if (n - 1) * stride + window >= size + 2 * pad)
    assert y.shape == (1, 1, fewest, fewest)
    top, bottom, left, right = pads(model, "layer")
    assert (top, left) == (pad, pad)
    assert top + size + bottom == left + size + right == (fewest - 1) * stride + window
    assert local(x, "own", 1, window, stride=stride, pad=pad).shape == y.shape
    if window >= stride and pad == 0:
        assert max_pool(x, "pool", window, stride=stride).shape == y.shape


def pads(model: Model, name: str) -> tuple[int, ...]:
    found = next(n for n in model if n.name == name).attrs["pad"]
    assert isinstance(found, tuple)
    return found


def test_conv1_is_a_valid_convolution_of_the_image_padded_at_bottom_and_right() -> None:
    graph = cut(alexnet(batch=1, width=1 / 48), "shifted", "conv1")
    got = run(graph, mean=90.0).outputs
    weight = feeds(graph)["conv1.weight"]
    padded = np.pad(got["shifted"], ((0, 0), (0, 0), (0, 3), (0, 3)))
    windows = sliding_window_view(padded, (11, 11), axis=(2, 3))[:, :, ::4, ::4]
    assert windows.shape[2:4] == (55, 55)
    np.testing.assert_allclose(got["conv1"], np.einsum("ncijrs,ocrs->noij", windows, weight))


# ---------------------------------------------------------------------------- the images


def fed_mean(graph: Graph, value: Array, offset: int, flip: int) -> Array:
    """What enters the net when every stored image is `value` and so is the mean."""
    shape = node(graph, "mean").type.shape
    edge = (value.shape[1] - shape[1]) // 2
    mean = value[:, edge : edge + shape[1], edge : edge + shape[2]]
    got = run(graph, images=value, mean=mean, offset=offset, flip=flip)
    return next(iter(got.outputs.values()))


def test_the_paper_subtracts_the_mean_of_the_same_place() -> None:
    graph = cut(alexnet(batch=1, image=49), "shifted")
    assert [node(graph, "offset").attrs["below"], node(graph, "flip").attrs["below"]] == [8, 2]
    picture = np.random.default_rng(0).integers(0, 256, (3, 56, 56))
    for offset in range(8):
        for flip in range(2):
            assert not fed_mean(graph, picture, offset, flip).any()


def test_the_program_subtracts_the_mean_of_the_centre_everywhere() -> None:
    graph = cut(alexnet(batch=1, image=49, preset="code145"), "scaled")
    picture = np.random.default_rng(0).integers(0, 256, (3, 56, 56))
    assert not fed_mean(graph, picture, 3, 0).any()
    centre, corner = picture[:, 3:52, 3:52], picture[:, :49, :49]
    np.testing.assert_allclose(fed_mean(graph, picture, 0, 0)[0], (corner - centre) / 1.1)


@pytest.mark.parametrize("preset", ["paper", "code145"])
def test_colour_shifts_each_image_and_channel(preset: str) -> None:
    graph = cut(alexnet(batch=2, image=49, preset=preset), "shifted")
    shift = np.arange(6.0).reshape(2, 3)
    moved = run(graph, shift=shift).outputs["shifted"] - run(graph).outputs["shifted"]
    np.testing.assert_allclose(moved, np.broadcast_to(shift[:, :, None, None], moved.shape))


@pytest.mark.parametrize(
    ("build", "store", "below"),
    [
        (alexnet, 256, 33),
        (partial(alexnet, store=300), 300, 77),
        (partial(alexnet, image=64), 73, 10),
        (vgg, 256, 33),
        (oneweirdtrick, 256, 33),
        (partial(cifar, image=24), 32, 9),
        (partial(cifar, image=32), 32, 1),
    ],
)
def test_stored_images(build: Build, store: int, below: int) -> None:
    graph = build()
    assert node(graph, "images").type.shape == (128, 3, store, store)
    assert node(graph, "offset").attrs["below"] == below


@pytest.mark.parametrize(
    ("build", "extra"),
    [
        (alexnet, {"shift", "seed", "step"}),
        (partial(alexnet, preset="code145", dropout=0), {"shift", "gain"}),
        (partial(vgg, dropout=0), {"shift"}),
        (oneweirdtrick, {"shift", "gain", "seed", "step"}),
        (cifar, set()),
    ],
)
def test_what_is_fed(build: Build, extra: set[str]) -> None:
    graph = build()
    always = {"images", "offset", "flip", "mean", "labels", "weights"}
    assert {n.name for n in graph.leaves("input")} == always | extra
    assert node(graph, "labels").attrs["below"] == node(graph, "loss").inputs[0].type.shape[1]


# ---------------------------------------------------------------------------- towers


@pytest.mark.parametrize(("towers", "leaks"), [(1, True), (2, False)])
def test_normalisation_stays_inside_a_tower(towers: int, leaks: bool) -> None:
    graph = cut(alexnet(batch=1, image=49, width=1 / 6, towers=towers), "norm1")
    assert node(graph, "norm1").type.shape[1] == 16
    fed = feeds(graph)
    before = run_graph(graph, fed).outputs["norm1"]
    fed["conv1.weight"] = fed["conv1.weight"].copy()
    fed["conv1.weight"][8:] *= 30
    after = run_graph(graph, fed).outputs["norm1"]
    assert not np.allclose(before[:, 8:], after[:, 8:])
    assert np.array_equal(before[:, :6], after[:, :6])
    assert np.array_equal(before[:, 6:8], after[:, 6:8]) is not leaks


# ---------------------------------------------------------------------------- every combination


@given(
    st.fixed_dictionaries(
        {
            "preset": st.sampled_from(("paper", "code145")),
            "pool": st.sampled_from(("3/2", "2/2")),
            "activation": st.sampled_from(("relu", "tanh")),
            "lrn": st.booleans(),
            "dropout": st.sampled_from((0, 0.5)),
            "ties": st.sampled_from(("all", "first")),
            "classes": st.integers(2, 12),
            "image": st.sampled_from((64, 70)),
            "store": st.none() | st.integers(70, 80),
            "width": st.sampled_from((1 / 64, 0.125)),
        }
    ),
    st.sampled_from(({"one_gpu": True}, {"towers": 1}, {"towers": 2}, {"towers": 4})),
)
@cases(full=300, sample=30)
def test_every_alexnet_runs(options: dict[str, Any], towers: dict[str, Any]) -> None:
    check_runs(alexnet(batch=4, **options, **towers), options["classes"])


@pytest.mark.parametrize("net", ["13pct", "11pct", "18pct"])
@pytest.mark.parametrize("image", [24, 32])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_every_cifar_net_runs(net: str, image: int, activation: str) -> None:
    check_runs(cifar(batch=2, net=net, image=image, activation=activation), 10)


@pytest.mark.parametrize("dropout", [0, 0.5])
@pytest.mark.parametrize(
    # Glorot's rule keeps the scale of the pixels, so that logits of this net start larger.
    ("model", "near"),
    [(oneweirdtrick, 0.7), (vgg, 1.5)],
)
def test_the_other_nets_run(model: Callable[..., Graph], near: float, dropout: float) -> None:
    check_runs(model(batch=2, image=64, width=0.125, classes=7, dropout=dropout), 7, near)


def check_runs(graph: Graph, classes: int, near: float = 0.7) -> None:
    verify(graph)
    assert parse(print_graph(graph)) == graph
    got = run(graph).outputs
    assert list(got) == ["loss", "top1", "top5"]
    assert 0 <= got["top1"] <= got["top5"] <= 1
    assert got["loss"] == pytest.approx(log(classes), abs=near)
    if classes <= 5:
        assert got["top5"] == 1


@pytest.mark.parametrize(
    "build", [alexnet, partial(alexnet, preset="code145"), oneweirdtrick, vgg, cifar]
)
def test_text_of_the_full_nets_parses_back(build: Build) -> None:
    graph = build()
    assert parse(print_graph(graph)) == graph


# ---------------------------------------------------------------------------- mistakes


def start() -> Tensor:
    return images(Model("mine", 2), 16)


# In each of these the last line is wrong.


def too_large_a_kernel() -> object:
    x = relu(start(), "relu1")
    return conv(x, "conv3", 4, 21)


def groups_that_do_not_divide() -> object:
    x = conv(start(), "conv1", 8, 3)
    return conv(x, "conv3", 9, 3, groups=3)


def maps_that_do_not_divide() -> object:
    x = conv(start(), "conv1", 9, 3)
    return conv(x, "conv3", 10, 3, groups=3)


def dense_on_maps() -> object:
    return dense(start(), "conv3", 10)


def too_many_normalised_groups() -> object:
    return lrn(start(), "conv3", groups=2)


def a_name_twice() -> object:
    x = conv(start(), "conv3", 8, 3)
    return conv(x, "conv3", 8, 3)


def no_name() -> object:
    return relu(start(), "conv 3")


def dropping_everything() -> object:
    return dropout(start(), "conv3", 1.0)


def half_a_map() -> object:
    return conv(start(), "conv3", 2.5, 3)  # type: ignore[arg-type]


def no_map() -> object:
    return conv(start(), "conv3", 0, 3)


def no_stride() -> object:
    return max_pool(start(), "conv3", 3, stride=0)


def not_a_number() -> object:
    return conv(start(), "conv3", 4, 3, std=float("nan"))


def nothing_given() -> object:
    return conv(start(), "conv3")  # type: ignore[call-arg]


def unknown_ties() -> object:
    return max_pool(start(), "conv3", 3, stride=2, ties="last")


def not_a_tensor() -> object:
    return relu(3, "conv3")  # type: ignore[arg-type]


def a_strange_tensor() -> object:
    x, y = start(), start()
    return x.model.apply("add", x, y, name="conv3")


def an_unknown_op() -> object:
    x = start()
    return x.model.apply("conv3d", x, name="conv3")


def a_call_over_lines() -> object:
    x = start()
    x = conv(
        x,
        "conv3",
        4,
        3,
        groups=7,
    )
    return x


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (too_large_a_kernel, "a window of 21 on 16 pixels with pad 0; expected at least 21 pixels"),
        (groups_that_do_not_divide, "8 channels in 3 groups; expected a divisor of 8"),
        (maps_that_do_not_divide, "3 groups do not divide 9 channels and 10 maps"),
        (dense_on_maps, "expected a matrix"),
        (too_many_normalised_groups, "2 groups do not divide 3 channels"),
        (a_name_twice, "the name is taken by 'conv3.weight: f32[8,3,3,3]"),
        (no_name, "expected a name of at most 128 letters"),
        (dropping_everything, "expected a number >= 0 and < 1, got 1.0"),
        (half_a_map, "maps is 2.5; expected int"),
        (no_map, "expected all >= 1"),
        (no_stride, "stride 0"),
        (not_a_number, "'std': expected a number >= 0, got nan"),
        (nothing_given, "missing a required argument: 'maps'; expected (x, name, maps, kernel,"),
        (unknown_ties, 'expected one of "all", "first"'),
        (not_a_tensor, "x is 3; expected Tensor"),
        (a_strange_tensor, "expected one of this"),
        (an_unknown_op, "unknown op 'conv3d', expected one of"),
    ],
)
def test_a_mistake_is_reported_at_the_line_of_the_model(
    model: Callable[[], object], complaint: str
) -> None:
    with pytest.raises(ModelError) as caught:
        model()
    last = max(line for *_, line in model.__code__.co_lines() if line)
    name = "conv 3" if model is no_name else "conv3"
    place = Path(__file__).relative_to(Path.cwd()) if here_is_below() else Path(__file__)
    assert str(caught.value).startswith(f"{place}:{last}: layer '{name}': ")
    assert complaint in str(caught.value)


def here_is_below() -> bool:
    return Path(__file__).is_relative_to(Path.cwd())


def test_a_mistake_in_a_long_call_is_reported_where_it_begins() -> None:
    with pytest.raises(ModelError, match="3 channels in 7 groups") as caught:
        a_call_over_lines()
    begins = a_call_over_lines.__code__.co_firstlineno + 2
    assert f":{begins}: layer 'conv3': " in str(caught.value)


def test_a_line_elsewhere_is_reported_with_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        no_map()
    assert str(caught.value).startswith(f"{Path(__file__)}:")


def test_what_leads_nowhere_is_reported() -> None:
    x = start()
    relu(x, "relu1")
    with pytest.raises(ModelError, match="model 'mine': nothing reads 'relu1'; expected"):
        x.model.finish(x)


@pytest.mark.parametrize("name", ["", "my model", "2net"])
def test_a_model_has_a_name(name: str) -> None:
    with pytest.raises(ModelError, match="expected a name"):
        Model(name, 2)


def test_a_batch_must_have_images() -> None:
    with pytest.raises(ModelError, match="model 'mine': batch is 0; expected >= 1"):
        Model("mine", 0)


def test_an_input_is_one_tensor_however_often_declared() -> None:
    model = Model("mine", 2)
    assert model.input("seed", 3).node is model.input("seed", 3).node
    with pytest.raises(ModelError, match="input 'seed': the name is taken by 'seed: f32"):
        model.input("seed", 4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"preset": "code"}, "preset is 'code'; expected one of paper, code145"),
        ({"pool": "4/2"}, "expected one of 3/2, 2/2"),
        ({"activation": "gelu"}, "expected one of relu, tanh"),
        ({"towers": 3}, "expected 1, 2 or 4"),
        ({"towers": 2, "one_gpu": True}, "expected 1 on one GPU"),
        ({"width": 0}, "width is 0; expected more than 0"),
        ({"width": float("nan")}, "width is nan"),
        ({"image": 6}, "layer 'conv1': a window of 11 on 6 pixels"),
        ({"image": 64, "store": 63}, "a crop of 64 from images of 63"),
        ({"dropout": 1}, "layer 'drop6'"),
        ({"classes": 0}, "layer 'fc8'"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_what_alexnet_refuses(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Error) as caught:
        alexnet(**options)
    assert complaint in str(caught.value)


# ---------------------------------------------------------------------------- commands


def command(model: str, options: Iterable[str]) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", f"frontend.{model}", *options]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("model", "options", "build"),
    [
        (
            "alexnet",
            "--preset code145 --towers 4 --no-lrn --pool 2/2 --activation tanh --dropout 0 "
            "--batch 3 --classes 9 --image 64 --store 80 --width 0.125 --ties first",
            partial(
                alexnet,
                3,
                preset="code145",
                towers=4,
                lrn=False,
                pool="2/2",
                activation="tanh",
                dropout=0,
                classes=9,
                image=64,
                store=80,
                width=0.125,
                ties="first",
            ),
        ),
        ("alexnet", "--one-gpu", partial(alexnet, one_gpu=True)),
        ("cifar", "--net 11pct --image 24 --batch 7", partial(cifar, 7, net="11pct", image=24)),
        ("oneweirdtrick", "--width 0.5 --dropout 0", partial(oneweirdtrick, width=0.5, dropout=0)),
        ("vgg", "--classes 3 --image 96", partial(vgg, classes=3, image=96)),
    ],
)
def test_a_command_prints_the_graph_of_its_options(model: str, options: str, build: Build) -> None:
    done = command(model, options.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == print_graph(build())


@pytest.mark.parametrize(
    ("model", "options", "complaint"),
    [
        ("alexnet", "--preset imagenet", "invalid choice: 'imagenet'"),
        ("alexnet", "--batch many", "invalid int value: 'many'"),
        ("alexnet", "--towers 3", "invalid choice: 3"),
        ("alexnet", "--towers 2 --one-gpu", "error: towers is 2; expected 1 on one GPU"),
        ("alexnet", "--width inf", "error: width is inf; expected"),
        ("alexnet", "--dropout 2", "layer 'drop6': dropout: attribute 'p': expected a number"),
        ("alexnet", "--image 6", "layer 'conv1': a window of 11 on 6 pixels"),
        ("cifar", "--image 28", "invalid choice: 28"),
        ("vgg", "--classes -5000", "layer 'fc8'"),
        ("oneweirdtrick", "--batch 1000000000000", "too large"),
    ],
)
def test_a_bad_option_exits_2_without_a_traceback(model: str, options: str, complaint: str) -> None:
    done = command(model, options.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_names_the_line_of_the_layer() -> None:
    done = command("alexnet", ["--image", "6"])
    path, line = done.stderr.removeprefix("error: ").split(":")[:2]
    assert path == str(Path("frontend", "alexnet.py"))
    assert '"conv1"' in (ROOT / path).read_text("utf-8").splitlines()[int(line) - 1]


@pytest.mark.parametrize("model", [alexnet, cifar, oneweirdtrick, vgg])
def test_every_argument_of_a_model_is_an_option_of_its_command(
    model: Callable[..., Graph],
) -> None:
    done = command(model.__name__, ["--help"])
    assert done.returncode == 0
    for argument in inspect.signature(model).parameters:
        option = "--no-lrn" if argument == "lrn" else f"--{argument.replace('_', '-')}"
        assert option in done.stdout


def test_outputs_are_those_of_classify() -> None:
    model = Model("mine", 2)
    graph = model.finish(*classify(dense(model.input("x", 2, 3), "fc1", 4)))
    assert [n.name for n in graph.outputs] == ["loss", "top1", "top5"]
    assert [n.attrs.get("top") for n in graph.outputs] == [None, 1, 4]
