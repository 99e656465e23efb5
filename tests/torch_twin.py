"""Full-size AlexNet trained by a plan and by PyTorch, from the same start on the same images."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ir.plan import folder
from runtime.data.batches import Values
from runtime.devices import open_executor
from runtime.executor import Executor
from runtime.job import Job
from runtime.options import parse
from runtime.trainer import Trainer

Tensor = Any
Params = dict[str, Tensor]

# Dropout's numbers are nobody else's, and PyTorch gives the gradient to the first of tied maxima.
FULL_SIZE = ("--batch", "16", "--dropout", "0", "--ties", "first")
STEPS = 20
RATE, MOMENTUM, DECAY = 0.0003, 0.9, 0.0005
"""At the recipe's rate, 0.001, batches of 16 make the loss jump, and rounding grows with it."""
APART = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 3e-2}
"""Relative differences of losses over all steps that rounding explains.

In float32 only sums differ, by their order. In tf32 a few sums round to another operand, which is
2^-11 off. In bf16 that is 2^-8, and PyTorch rounds more than we do: the gradients of weights, and
whatever lies between two of its ops.
"""

Within = Callable[[], AbstractContextManager[object]]
"""Where PyTorch computes a loss."""


# ---------------------------------------------------------------------------- the same in PyTorch


def forward(torch: Any, params: Params, images: Tensor, keep: float = 1.0) -> Tensor:
    """The logits of centred crops [N,3,224,224]; `keep` is the chance that dropout spares."""
    f = torch.nn.functional

    def conv(x: Tensor, name: str, **geometry: int) -> Tensor:
        bias = params[f"{name}.bias"]
        return f.conv2d(x, params[f"{name}.weight"], bias, **geometry).relu()

    def dense(x: Tensor, name: str) -> Tensor:
        return f.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])

    def norm(x: Tensor) -> Tensor:
        """Within each of the two towers; PyTorch divides alpha by the size of the window."""
        towers = x.chunk(2, dim=1)
        return torch.cat([f.local_response_norm(t, 5, 5 * 1e-4, 0.75, 2.0) for t in towers], dim=1)

    def pool(x: Tensor) -> Tensor:
        return f.max_pool2d(x, 3, 2)

    x = conv(f.pad(images, (0, 3, 0, 3)), "conv1", stride=4)  # the last window overhangs
    x = conv(pool(norm(x)), "conv2", padding=2, groups=2)
    x = conv(pool(norm(x)), "conv3", padding=1)
    x = conv(x, "conv4", padding=1, groups=2)
    x = pool(conv(x, "conv5", padding=1, groups=2))
    x = dense(x.flatten(1), "fc6").relu() * keep
    return dense(dense(x, "fc7").relu() * keep, "fc8")


def centred(torch: Any, values: Values, mean: Tensor) -> Tensor:
    """The crops that a batch asks for; all are the same part, none is mirrored or shifted."""
    (top, left), *others = np.unique(values["offset"], axis=0)
    assert not others
    assert not values["flip"].any()
    assert not values["shift"].any()
    pixels = torch.from_numpy(np.array(values["images"])).to(mean.device).float() - mean
    return pixels[:, :, top : top + 224, left : left + 224]


def descend(params: Params, momenta: Params, rate: float) -> None:
    """The paper's update: the rate is within the momentum; biases learn faster, without decay."""
    for name, w in params.items():
        by, decay = (2.0, 0.0) if name.endswith(".bias") else (1.0, DECAY)
        v = momenta[name].mul_(MOMENTUM)
        v.sub_(w.grad, alpha=rate * by).sub_(w.data, alpha=rate * by * decay)
        w.data += v
        w.grad = None


def torch_losses(
    torch: Any, start: Values, job: Job, device: str, within: Within
) -> Iterator[float]:
    params = {
        name: torch.tensor(value, requires_grad=True, device=device)
        for name, value in start.items()
    }
    momenta = {name: torch.zeros_like(value) for name, value in params.items()}
    batches = job.training(seed=0)
    mean = torch.from_numpy(batches.fixed["mean"]).to(device)
    for step in range(STEPS):
        values = batches.batch(step)
        labels = torch.from_numpy(values["labels"]).long().to(device)
        with within():
            logits = forward(torch, params, centred(torch, values, mean))
            loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        descend(params, momenta, RATE)
        yield loss.item()


# ---------------------------------------------------------------------------- ours


def our_losses(executor: Executor, job: Job) -> Iterator[float]:
    trainer = Trainer(executor, job.schedule, job.training(seed=0), None, seed=0)
    batches = trainer.batches(0, STEPS)
    for step in range(STEPS):
        trainer.start(step, batches)
        yield float(trainer.finish()["loss"])


def assert_follows_pytorch(
    torch: Any, path: Path, device: str, within: Within = nullcontext
) -> None:
    """Fail unless a plan's losses are those of PyTorch on a device, and move."""
    rates = ("--lr", f"{RATE}", "--momentum", f"{MOMENTUM}", "--weight-decay", f"{DECAY}")
    job = Job(parse(None, [str(path), "--no-augment", *rates]))
    with open_executor(job.plan, folder(path)) as executor:
        executor.states.initialise(0)
        start = {name: executor.states.read(name) for name in executor.states.parameters}
        ours = np.array(list(our_losses(executor, job)))
    theirs = np.array(list(torch_losses(torch, start, job, device, within)))
    apart = np.abs(ours - theirs) / theirs
    shown = ", ".join(f"{a:.5f}/{b:.5f}" for a, b in zip(ours, theirs, strict=True))
    assert apart.max() < APART[job.plan.precision], f"up to {apart.max():.1e} apart: {shown}"
    assert theirs[-5:].mean() < theirs[0] / 2, f"too little moved: {shown}"
