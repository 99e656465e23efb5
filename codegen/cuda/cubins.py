"""From a region to binaries for NVIDIA GPUs: CUDA C for each architecture, compiled."""

from contextlib import suppress

from msgspec.structs import replace

from codegen.cache import Compiled, Variant
from codegen.cost.nominal import nominal_work
from codegen.cuda import toolchain
from codegen.cuda.generated import generated
from codegen.cuda.source import roomy
from codegen.cuda.toolchain import Binary
from codegen.kernels import build
from codegen.kernels.cuda.tile import next_best
from codegen.kernels.cuda.writer import Built
from codegen.targets import Cuda
from ir.command import Error
from ir.graph import Graph
from ir.plan import Launch
from ir.plan.cubins import shared_limit
from ir.printer import print_graph

Made = tuple[Built, tuple[Launch, ...], str, Binary]
"""A kernel for one architecture, its launches, its text and its machine code."""
OTHERS = 8
"""Tiles that are tried where the best one spills."""


class Spilled(Error):
    """Values do not fit into registers."""


def compiled(region: Graph, target: Cuda) -> Compiled:
    """Compile one region. Raises Error, which shows the region, where that cannot be done."""
    files: dict[str, bytes] = {}
    variants: dict[str, Variant] = {}
    tuned, fewer = True, None
    try:
        for arch in target.arches:
            own = target.only(arch).tuned(region)
            built, launches, text, binary = _fitting(region, own)
            fewer = built.flops
            files |= {f".{arch}.cubin": binary.cubin, f".{arch}.cu": text.encode()}
            variants[arch] = Variant(launches, built.scratch)
            tuned = tuned and own.shape in (None, built.tile and built.tile.shape)
    except Error as error:
        raise Error(f"{error}; in this region:\n{print_graph(region)}") from error
    work = nominal_work(region, fewer) if fewer else None
    return Compiled(files, variants=variants, work=work, tuned=tuned)


def _fitting(region: Graph, target: Cuda) -> Made:
    """With the tile that is asked for; else with the cheapest whose values fit into registers: how
    many these are is only estimated before. Raises Error where there is none."""
    best = _built(region, target)
    try:
        return _made(best, region, target)
    except Spilled:
        if target.shape is None and best.tile:
            for tile in next_best(best.tile, OTHERS):
                own = target.shaped(tile.shape)
                with suppress(Spilled):
                    return _made(_built(region, own), region, own)
        raise


def _built(region: Graph, target: Cuda) -> Built:
    built = build(region, target)
    assert isinstance(built, Built)
    return built


def _made(built: Built, region: Graph, target: Cuda) -> Made:
    """For the target's one architecture. Raises Error."""
    (arch,) = target.arches
    made = generated(built, region, target)
    text, binary = _in_registers(made.text, arch)
    launches = tuple(_measured(launch, binary, arch) for launch in made.launches)
    return built, launches, text, binary


def _in_registers(text: str, arch: str) -> tuple[str, Binary]:
    """The text and its binary. Raises Spilled where values do not fit."""
    compiler = toolchain.find()
    binary = compiler.compile(text, arch)
    if any(needs.stack or needs.spills for needs in binary.functions.values()):
        text = roomy(text)
        binary = compiler.compile(text, arch)
    _require_registers(binary, arch)
    return text, binary


def _require_registers(binary: Binary, arch: str) -> None:
    """Raise Spilled where a thread keeps in memory what it should keep in registers."""
    for symbol, needs in binary.functions.items():
        if needs.stack or needs.spills:
            raise Spilled(
                f"{symbol} for {arch} has a stack of {needs.stack} bytes and spills "
                f"{needs.spills}, expected registers only"
            )


def _measured(launch: Launch, binary: Binary, arch: str) -> Launch:
    """Raise Error where a block has more shared memory than the architecture gives it."""
    needs = binary.functions[launch.symbol]
    if needs.shared + launch.dynamic > shared_limit(arch):
        raise Error(
            f"{launch.symbol} for {arch} takes {needs.shared + launch.dynamic:,} bytes of shared "
            f"memory, expected at most {shared_limit(arch):,}"
        )
    return replace(launch, shared=needs.shared, registers=needs.registers)
