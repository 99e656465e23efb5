"""How fast the contraction kernels of AlexNet are: `python -m benchmarks.kernels`.

Prints for every different region with a contraction its GFLOP/s, everything that is fused into it
included, and beside it PyTorch's for the contraction alone where PyTorch is installed; the two
take turns.
"""

import argparse
import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ir.graph import Graph, Node

Turn = Callable[[], object]
KINDS = ("conv", "dense", "local")


def main() -> None:
    """Time the kernels one by one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=main.__doc__)
    parser.add_argument("--batch", type=int, default=128, help="images (default 128)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each kernel (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default 1)")
    parser.add_argument("--only", default="", help="regions that begin so, such as conv_dw")
    options = parser.parse_args()
    # Before TVM's and PyTorch's libraries are loaded.
    os.environ |= {"TVM_BIND_THREADS": "0", "TVM_NUM_THREADS": str(options.threads)}
    torch = _torch(options.threads)
    print(f"{'region':<62} {'GFLOP':>6} {'ms':>7} {'GFLOP/s':>8} {'PyTorch':>8}")
    for region in regions(options.batch, options.only):
        first = next(node for node in region.nodes if node.inputs)
        turns = [kernel(region, options.threads)]
        turns += [peer(torch, first)] if torch else []
        # Of one thread the time that it had; it is disturbed less by others.
        clock = time.thread_time if options.threads == 1 else time.perf_counter
        ours, *theirs = _best(turns, options.repeat, clock)
        flops = _flops(first)
        rates = [flops / seconds / 1e9 for seconds in (ours, *theirs)]
        columns = " ".join(f"{rate:8.0f}" for rate in rates)
        print(f"{_title(region):<62} {flops / 1e9:6.2f} {1e3 * ours:7.1f} {columns}")
        sys.stdout.flush()


def regions(batch: int, only: str) -> Iterator[Graph]:
    """The different contraction regions of a training step on two devices."""
    from codegen.layout import layout_of
    from codegen.programs import lower
    from codegen.steps import Call, steps
    from frontend.alexnet import alexnet
    from passes.context import Context

    layout = layout_of("cpu")
    lowered = lower(alexnet(batch), Context(2), layout, lambda name: lambda *pass_: None)
    train = lowered.programs["train"]
    calls = (step for step in steps(train, layout) if isinstance(step, Call))
    for region in dict.fromkeys(call.region.graph for call in calls):
        op = next(node.op for node in region.nodes if node.inputs)
        if op.startswith(KINDS) and op.startswith(only):
            yield region


def kernel(region: Graph, threads: int) -> Turn:
    """A call of a region's kernel on normal random numbers."""
    import tvm

    from codegen.kernels import build
    from codegen.targets import cpu

    target = cpu()
    built = build(region, target)
    module = tvm.compile(tvm.IRModule({"kernel": built.function}), target=target.tvm())
    leaves = region.leaves("input", "state")
    sizes = [built.scratch * threads + 64]
    sizes += [target.layout.bytes(node.type) for node in (*leaves, *region.outputs)]
    memories = [_memory(size) for size in sizes]
    pointers = [ctypes.c_void_p(memory.ctypes.data) for memory in memories]
    function = module["kernel"]

    def turn(hold: object = memories) -> object:
        return function(threads, *pointers)

    return turn


def _memory(size: int) -> Any:
    """Small numbers, so that states stay small, aligned to 64 bytes."""
    room = np.empty(size // 4 + 32, np.float32)
    start = -room.ctypes.data % 64 // 4
    room[...] = np.resize(np.random.default_rng(0).normal(0, 1e-3, 10007), room.shape)
    return room[start : start + size // 4]


def peer(torch: Any, node: Node) -> Turn:
    """PyTorch's call for one contraction."""
    one, other = (torch.randn(x.type.shape) for x in node.inputs)
    kind, _, way = node.op.partition("_")
    if kind == "dense":
        products = {"": lambda: one @ other.T, "dx": lambda: other @ one}
        return products.get(way, lambda: other.T @ one)
    if kind == "local":
        return lambda: None
    return _peer_conv(torch, node, one, other, way)


def _peer_conv(torch: Any, node: Node, one: Any, other: Any, way: str) -> Turn:
    """PyTorch pads both sides alike, so x is padded before the clock runs."""
    attrs: Any = node.attrs
    options = {"stride": attrs["stride"], "groups": attrs["groups"]}
    top, bottom, left, right = attrs["pad"]

    def padded(x: Any) -> Any:
        return torch.nn.functional.pad(x, (left, right, top, bottom))

    if way == "":
        x = padded(one)
        return lambda: torch.nn.functional.conv2d(x, other, **options)
    shape = (*node.type.shape[:2], *_padded_size(node)) if way == "dx" else node.type.shape
    x, w = (torch.empty(shape), one) if way == "dx" else (padded(one), torch.empty(shape))
    wanted = [way == "dx", way == "dw", False]
    geometry = [list(attrs["stride"]), [0, 0], [1, 1], False, [0, 0], attrs["groups"], wanted]
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(other, x, w, None, *geometry)


def _padded_size(node: Node) -> tuple[int, int]:
    pad: Any = node.attrs["pad"]
    height, width = node.type.shape[2:]
    return height + pad[0] + pad[1], width + pad[2] + pad[3]


def _best(turns: list[Turn], repeat: int, clock: Callable[[], float]) -> list[float]:
    """Least seconds of each contestant, who take turns."""
    spent: list[list[float]] = [[] for _ in turns]
    for _ in range(repeat + 1):
        for seconds, turn in zip(spent, turns, strict=True):
            begin = clock()
            turn()
            seconds.append(clock() - begin)
    return [min(each[1:]) for each in spent]


def _torch(threads: int) -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        return None
    torch.set_num_threads(threads)
    return torch


def _flops(node: Node) -> int:
    from ir.ops import row_of

    return row_of(node).flops(node.type, *(x.type for x in node.inputs), **node.attrs)


def _title(region: Graph) -> str:
    nodes = [node for node in region.nodes if node.inputs]
    shapes = " ".join("x".join(map(str, x.type.shape)) for x in nodes[0].inputs)
    return f"{'|'.join(node.op for node in nodes)} {shapes}"[:62]


if __name__ == "__main__":
    from ir.command import run

    run(main)
