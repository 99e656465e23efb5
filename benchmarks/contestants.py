"""Who takes part in `benchmarks.step`, and what each does in its own process."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contest import Contestant, serve
from benchmarks.networks import has_switch, network
from benchmarks.peers import MODES, TUNED, torch_step
from ir.plan import folder, read
from runtime.devices import open_executor
from tests.gpu.feeds import random_feeds

NO_LRN = ", no LRN"
OURS = "tandem"
ONE, TWO = "cpu:0", "cpu:0,cpu:1"
BOTH_ON_ONE = "cpu:0,cpu:0"


@dataclass(frozen=True)
class Entry:
    """A contestant before it starts: `package` is what it needs, `build` options of our plan."""

    name: str
    package: str
    env: Mapping[str, str] = field(default_factory=dict)
    lrn: bool = True
    build: tuple[str, ...] = ()
    binding: str = ""

    @property
    def installed(self) -> bool:
        """Whether it can take part here."""
        return find_spec(self.package) is not None

    def started(self, options: argparse.Namespace, plan: Path | None) -> Contestant:
        """Its process."""
        command = [sys.executable, "-m", "benchmarks.contestants", self.name]
        command += ["--net", options.net, "--batch", str(options.batch)]
        command += ["--threads", str(options.threads)]
        command += ["--plan", str(plan)] if plan else []
        return Contestant(self.name, command, self.env)


def ours(net: str) -> Iterator[Entry]:
    """Our own: the first is the measure for all."""
    one, two = ("--devices", ONE), ("--devices", TWO)
    yield Entry(OURS, "tvm", build=one)
    yield Entry(f"{OURS}, two devices", "tvm", build=two, binding=TWO)
    yield Entry(f"{OURS}, two devices on one", "tvm", build=two, binding=BOTH_ON_ONE)
    yield Entry(f"{OURS}, mild", "tvm", build=(*one, "--winograd", "mild"))
    yield Entry(f"{OURS}, exact", "tvm", build=(*one, "--exact"))
    if has_switch(net):
        yield Entry(f"{OURS}{NO_LRN}", "tvm", build=one, lrn=False)


def peers(net: str) -> Iterator[Entry]:
    """All others; without LRN those that are at their best."""
    for mode, env in MODES.items():
        yield Entry(f"torch {mode}", "torch", env)
    yield Entry("jax jit", "jax")
    yield Entry("tinygrad", "tinygrad", {"DEV": "CPU"})
    if has_switch(net):
        for mode, env in MODES.items():
            if mode.endswith(TUNED):
                yield Entry(f"torch {mode}{NO_LRN}", "torch", env, lrn=False)
        yield Entry(f"jax jit{NO_LRN}", "jax", lrn=False)


# ---------------------------------------------------------------------------- processes


def main() -> None:
    """Be a contestant: a training step at each turn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contestants")
    parser.add_argument("name")
    parser.add_argument("--net", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--plan", type=Path)
    options = parser.parse_args()
    entries = {entry.name: entry for entry in (*ours(options.net), *peers(options.net))}
    serve(_step(entries[options.name], options))


def _step(entry: Entry, options: argparse.Namespace) -> Callable[[], None]:
    if entry.package == "tvm":
        return our_step(options.plan, options.threads, entry.binding or None)
    graph = network(options.net, options.batch, lrn=entry.lrn)
    if entry.package == "torch":
        mode = entry.name.removeprefix("torch ").removesuffix(NO_LRN)
        return torch_step(mode, graph, options.threads)
    if entry.package == "jax":
        from benchmarks.jax_peer import jax_step

        return jax_step(graph)
    from benchmarks.tinygrad_peer import tinygrad_step

    return tinygrad_step(graph)


def our_step(path: Path, threads: int, binding: str | None) -> Callable[[], None]:
    """A step of a plan on random images, the host's part (feeding them) included."""
    plan = read(path)
    executor = open_executor(plan, folder(path), binding=binding, threads=threads)
    executor.states.initialise(seed=0)
    feeds = random_feeds(plan.programs["train"], seed=0)
    packed = {name: executor.pack("train", name, value) for name, value in feeds.items()}

    def step() -> None:
        for name, value in packed.items():
            executor.feed("train", name, value)
        executor.run("train")()

    return step


if __name__ == "__main__":
    main()
