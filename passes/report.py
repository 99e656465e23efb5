"""What the compiler decided: `python -m passes.report < a.ir`.

An unplaced program is taken through the training pipeline first. Bytes are decimal (1 MB = 10^6).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from ir.command import run
from ir.cost import macs
from ir.graph import Graph, Node, ancestors
from ir.op import Fusion
from ir.ops import row_of
from ir.text import read
from ir.type import Device
from passes.certificate import certify
from passes.context import Context, positive, to_stderr
from passes.memory import Arenas, plan_memory
from passes.pipeline import TRAIN, run_passes
from passes.schedule import is_scheduled

PAPER_GPU_BYTES = 3 * 2**30
"""A GTX 580's memory, paper section 3.2."""


def report(graph: Graph) -> str:
    """The report on a scheduled program, as text."""
    arenas = plan_memory(graph)
    return "\n".join([*_devices(graph, arenas), "", *_transfers(graph)]) + "\n"


def parameters(graph: Graph, device: Device) -> int:
    """How many trained numbers live on a device."""
    return sum(leaf.type.elements for leaf in graph.leaves("param") if leaf.device == device)


def macs_per_image(graph: Graph, device: Device) -> int:
    """Forward multiply-accumulates of one image on a device, taps in the padding included."""
    forward = ancestors(graph.outputs)
    mine = [node for node in graph.nodes if node in forward and node.device == device]
    return sum(macs(node) // node.type.shape[0] for node in mine if macs(node))


def _devices(graph: Graph, arenas: Arenas) -> Iterator[str]:
    rows = [("device", "parameters", "MACs/image", "arena", "lower bound", "over", "in 3 GB")]
    for device in graph.devices():
        arena, bound = arenas.bytes[device], arenas.lower_bound[device]
        rows.append(
            (
                str(device),
                f"{parameters(graph, device):,}",
                f"{macs_per_image(graph, device):,}",
                _mb(arena),
                _mb(bound),
                f"{arena / bound - 1:.2%}" if bound else "-",
                "yes" if arena <= PAPER_GPU_BYTES else "no",
            )
        )
    total = sum(parameters(graph, d) for d in graph.devices())
    work = sum(macs_per_image(graph, d) for d in graph.devices())
    rows.append(("total", f"{total:,}", f"{work:,}", _mb(sum(arenas.bytes.values())), "", "", ""))
    yield from _table(rows)


def _transfers(graph: Graph) -> Iterator[str]:
    moves = [node for node in graph.nodes if node.op == "transfer"]
    forward, uses = ancestors(graph.outputs), graph.uses()
    rows = [("transfer of", "from", "to", "bytes", "because")]
    for node in moves:
        because = _reader(uses, node) if node in forward else _maker(node)
        source = node.inputs[0]
        rows.append(
            (source.name, str(source.device), str(node.device), _mb(node.type.bytes), because)
        )
    if moves:
        yield from _table(rows)
    ahead = sum(node in forward for node in moves)
    certificate = certify(graph)
    yield (
        f"{ahead} transfers forward and {len(moves) - ahead} backward move "
        f"{_mb(certificate.moved)} per step; "
        + (
            f"the minimum cut proves {_mb(certificate.bound)} necessary"
            if certificate.exact
            else f"at least {_mb(certificate.bound)} are necessary (half the isolating cuts)"
        )
    )


def _reader(uses: dict[Node, list[Node]], node: Node) -> str:
    """Why a forward transfer is there: who reads it, and how."""
    readers, whole = uses[node], False
    while readers and all(row_of(reader).fusion is Fusion.COPY for reader in readers):
        whole = whole or any(reader.op == "concat" for reader in readers)
        readers = [user for reader in readers for user in uses[reader]]
    if not readers:
        return "it is put out"
    return f"{readers[0].name} ({readers[0].op}) reads {'all shards' if whole else 'it'}"


def _maker(node: Node) -> str:
    """Why a backward transfer is there: who made this part of a gradient."""
    while row_of(node).fusion in (Fusion.COPY, Fusion.VIEW) and node.inputs:
        node = node.inputs[0]
    return f"{node.name} ({node.op}) makes a part of its gradient"


def _mb(count: int) -> str:
    return f"{count / 1e6:,.2f} MB" if count >= 10_000 else f"{count:,} B"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if i in (0, len(row) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def main() -> None:
    """Say what each device holds and computes, and what is moved between them and why."""
    parser = argparse.ArgumentParser(prog="python -m passes.report", description=main.__doc__)
    parser.add_argument("file", nargs="?", default="-", help="IR text; - (default) is stdin")
    parser.add_argument(
        "--devices", type=positive, default=2, help="for an unplaced one (default 2)"
    )
    options = parser.parse_args()
    graph, context = read(options.file), Context(options.devices, say=to_stderr)
    if not graph.devices():
        graph = run_passes(graph, TRAIN, context)
    elif not is_scheduled(graph):
        graph = run_passes(graph, ("fuse", "schedule", "memory"), context)
    sys.stdout.write(report(graph))


if __name__ == "__main__":
    run(main)
