"""AlexNet in PyTorch: the same layers and update as `frontend.alexnet`, for comparison only."""

from collections.abc import Callable
from typing import Any

TUNED_MALLOC = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=8589934592"
    ":glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1"
}
"""glibc unmaps and faults in every large activation at every step unless it is told not to."""

MODES: dict[str, dict[str, str]] = {
    "eager": {},
    "channels_last": {},
    "eager, tuned malloc": TUNED_MALLOC,
    "channels_last, tuned malloc": TUNED_MALLOC,
    "compile, channels_last, tuned malloc": TUNED_MALLOC,
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


def torch_step(mode: str, batch: int, threads: int) -> Callable[[], None]:
    """One training step on fixed random images, ready to be called. Needs torch."""
    import torch

    torch.set_num_threads(threads)
    return _step(torch, mode, batch, "cpu", torch.compile)


def torch_gpu_step(mode: str, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """The same on a GPU in strict float32, and what waits for all steps. Needs torch."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True

    def tuned(net: Any) -> Any:
        return torch.compile(net, mode="max-autotune")

    step = _step(torch, mode, batch, "cuda", tuned)
    return (_captured(torch, step) if "graph" in mode else step), torch.cuda.synchronize


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
    torch: Any, mode: str, batch: int, device: str, compiled: Callable[[Any], Any]
) -> Callable[[], None]:
    torch.manual_seed(0)
    net: Any = _network(torch).to(device)
    images = torch.randn(batch, 3, 224, 224, device=device)
    labels = torch.randint(0, 1000, (batch,), device=device)
    if "channels_last" in mode:
        net = net.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    descent = torch.optim.SGD(
        net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True
    )
    forward = compiled(net) if "compile" in mode else net

    def step() -> None:
        descent.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(forward(images), labels).backward()
        descent.step()

    return step


def _network(torch: Any) -> Any:
    nn = torch.nn

    class Norm(nn.Module):  # type: ignore[misc, name-defined]
        """Response normalisation within each tower, as the two GPUs of 2012 did it."""

        def forward(self, x: Any) -> Any:
            towers = x.chunk(2, 1)
            normed = [nn.functional.local_response_norm(t, 5, 5e-4, 0.75, 2.0) for t in towers]
            return torch.cat(normed, 1)

    def conv(*sizes: int, **geometry: int) -> list[Any]:
        return [nn.Conv2d(*sizes, **geometry), nn.ReLU(inplace=True)]

    def pool() -> Any:
        return nn.MaxPool2d(3, 2)

    def hidden(inputs: int) -> list[Any]:
        return [nn.Linear(inputs, 4096), nn.ReLU(inplace=True), nn.Dropout()]

    return nn.Sequential(
        *[*conv(3, 96, 11, stride=4, padding=2), Norm(), pool()],
        *[*conv(96, 256, 5, padding=2, groups=2), Norm(), pool()],
        *conv(256, 384, 3, padding=1),
        *conv(384, 384, 3, padding=1, groups=2),
        *[*conv(384, 256, 3, padding=1, groups=2), pool(), nn.Flatten()],
        *hidden(9216),
        *hidden(4096),
        nn.Linear(4096, 1000),
    )
