"""Training steps of our networks in PyTorch, the same layers and update, for comparison only."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from benchmarks.networks import images, layers, network, padding
from ir.graph import Graph, Node

TUNED = ", tuned malloc"
TUNED_MALLOC = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=8589934592"
    ":glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1"
}
"""glibc unmaps and faults in every large activation at every step unless it is told not to."""

WAYS = ("eager", "channels_last", "compile", "compile, channels_last")
MODES: dict[str, dict[str, str]] = {
    **{way: {} for way in WAYS},
    **{way + TUNED: TUNED_MALLOC for way in WAYS},
}
"""PyTorch's ways to run a step, and what each needs in its environment."""

GPU_MODES = (
    "eager",
    "channels_last",
    "graph",
    "graph, channels_last",
    "compile",
    "compile, channels_last",
)
"""The same on a GPU: with the whole step in a CUDA graph, or compiled with all tuning."""


def torch_step(mode: str, graph: Graph, threads: int) -> Callable[[], None]:
    """One training step on fixed random images, ready to be called. Needs torch."""
    import torch

    torch.set_num_threads(threads)
    return _step(torch, mode, graph, "cpu", torch.compile, nullcontext)


def torch_gpu_step(
    mode: str, precision: str, batch: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """AlexNet's on a GPU, and what waits for all steps. Needs torch."""
    import torch

    choose_precision(torch, precision)
    torch.backends.cudnn.benchmark = True

    def tuned(net: Any) -> Any:
        return torch.compile(net, mode="max-autotune")

    within = partial(autocast, torch, precision)
    step = _step(torch, mode, network("alexnet", batch), "cuda", tuned, within)
    return (_captured(torch, step) if "graph" in mode else step), torch.cuda.synchronize


def choose_precision(torch: Any, precision: str) -> None:
    """Let a GPU multiply float32 as float32, or rounded to tf32 where that is the precision."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def autocast(torch: Any, precision: str) -> AbstractContextManager[object]:
    """Where a forward pass and its loss are computed; weights are float32 in every precision.

    Weights are cast once a step anyway, and a copy that is kept would not outlive a graph.
    """
    is_bf16 = precision == "bf16"
    found: AbstractContextManager[object] = torch.autocast(
        "cuda", torch.bfloat16, enabled=is_bf16, cache_enabled=False
    )
    return found


def _captured(torch: Any, step: Callable[[], None]) -> Callable[[], None]:
    """A step as a graph. What it allocates once must be there before."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay


def _step(
    torch: Any,
    mode: str,
    graph: Graph,
    device: str,
    compiled: Callable[[Any], Any],
    within: Callable[[], AbstractContextManager[object]],
) -> Callable[[], None]:
    torch.manual_seed(0)
    net: Any = torch_network(torch, graph).to(device)
    pixels = torch.randn(images(graph), device=device)
    batch, classes = layers(graph)[-1].type.shape
    labels = torch.randint(0, classes, (batch,), device=device)
    if "channels_last" in mode:
        net = net.to(memory_format=torch.channels_last)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    descent = torch.optim.SGD(
        net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True
    )
    forward = compiled(net) if "compile" in mode else net

    def step() -> None:
        descent.zero_grad(set_to_none=True)
        with within():
            loss = torch.nn.functional.cross_entropy(forward(pixels), labels)
        loss.backward()
        descent.step()

    return step


def torch_network(torch: Any, graph: Graph) -> Any:
    """The layers of a network as a module. Raises Error for those that PyTorch lacks."""
    nn = torch.nn

    class Norm(nn.Module):  # type: ignore[misc, name-defined]
        """Response normalisation within each group of maps, as the two GPUs of 2012 did it."""

        def __init__(self, attrs: Any) -> None:
            super().__init__()
            self.groups, self.size, self.k = attrs["groups"], attrs["size"], attrs["k"]
            # PyTorch divides alpha by the size of the window.
            self.alpha, self.beta = attrs["alpha"] * self.size, attrs["beta"]

        def forward(self, x: Any) -> Any:
            formula = self.size, self.alpha, self.beta, self.k
            groups = x.chunk(self.groups, 1)
            normed = [nn.functional.local_response_norm(group, *formula) for group in groups]
            return torch.cat(normed, 1)

    def conv(node: Node, attrs: Any) -> Any:
        (inputs, outputs), window = _channels(node), node.inputs[1].type.shape[2:]
        options = {"stride": attrs["stride"], "groups": attrs["groups"]}
        return nn.Conv2d(inputs, outputs, window, padding=padding(node), **options)

    def pool(node: Node, attrs: Any) -> Any:
        return nn.MaxPool2d(attrs["window"], attrs["stride"], ceil_mode=True)

    made: dict[str, Callable[[Node, Any], Any]] = {
        "conv": conv,
        "dense": lambda node, attrs: nn.Linear(*_channels(node)),
        "relu": lambda node, attrs: nn.ReLU(inplace=True),
        "lrn": lambda node, attrs: Norm(attrs),
        "max_pool": pool,
        "flatten": lambda node, attrs: nn.Flatten(),
        "dropout": lambda node, attrs: nn.Dropout(attrs["p"]),
    }
    return nn.Sequential(*(made[node.op](node, node.attrs) for node in layers(graph)))


def _channels(node: Node) -> tuple[int, int]:
    """Maps, or units, that a layer reads and makes."""
    return node.inputs[0].type.shape[1], node.type.shape[1]
