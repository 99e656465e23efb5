"""Weight gradients by minimal filtering equal the oracle, for any shape, tile and epilogue."""

from dataclasses import replace
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.kernels.cpu.winograd import strips
from codegen.targets import Cpu
from ir.graph import Graph
from tests.counts import cases
from tests.filtering import check, draw, kernel, tiles
from tests.graphs import SEEDS
from tests.kernels import host
from tests.test_contractions import random_values, with_epilogue

# ---------------------------------------------------------------------------- kernels


def chunked(cached: int) -> Cpu:
    """This machine, with so many bytes to work on at a time."""
    return replace(host(), tuning=replace(host().tuning, chunk=cached))


# ---------------------------------------------------------------------------- laws


@cases(full=24, sample=1)
@given(seed=SEEDS, cached=st.sampled_from((300_000, 10**7)), longest=st.sampled_from((1, 3, 12)))
def test_any_weight_gradient_equals_the_oracle(seed: int, cached: int, longest: int) -> None:
    rng = Random(seed)
    node = draw("conv_dw", rng)
    graph = with_epilogue(node, node.inputs, rng)
    with patch.object(strips, "LONGEST", longest):
        check(kernel(graph, tiles(node, rng), chunked(cached)), random_values(graph, rng))


@pytest.mark.parametrize("mcpu", ["haswell", "x86-64"])
@cases(full=6, sample=1)
@given(seed=SEEDS)
def test_smaller_register_files_serve_too(mcpu: str, seed: int) -> None:
    rng = Random(seed)
    node = draw("conv_dw", rng)
    graph = with_epilogue(node, node.inputs, rng)
    check(kernel(graph, tiles(node, rng), host(mcpu)), random_values(graph, rng))


def test_other_architectures_get_their_vector_instructions() -> None:
    node = draw("conv_dw", Random(0))
    graph = with_epilogue(node, node.inputs, Random(0))
    target = host("neoverse-v1", "aarch64-linux-gnu")
    assert "fmla\t" in kernel(graph, tiles(node, Random(0)), target).assembly


@cases(full=20, sample=3)
@given(seed=SEEDS)
def test_scratch_keeps_to_its_limit(seed: int) -> None:
    """What is transformed at a time takes no more than it may, or is one strip."""
    rng = Random(seed)
    node = draw("conv_dw", rng)
    graph, by = Graph("gradient", (*node.inputs, node), (node,)), tiles(node, rng)
    least = kernel(graph, by, chunked(1)).built.scratch
    for cached in (10**6, 10**7):
        assert kernel(graph, by, chunked(cached)).built.scratch <= least + cached
