"""The gradient of a bias, and its update.

A task sums all pixels and images of one channel, of some blocks of images only where channels are
few; each lane has its own images. Then the lanes are added up, 16 channels at a time.
"""

from math import prod

from codegen.kernels.cpu.bands import TASKS
from codegen.kernels.cpu.reduce import Sums, added
from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import VIEWS, Epilogue
from codegen.kernels.grouping import Access, access_of
from codegen.kernels.pointwise import RULES
from codegen.targets import Cpu
from ir.graph import Graph, Node
from ir.type import DType


def bias_dw(region: Graph, target: Cpu) -> Built | str:
    """The kernel of a bias_dw and what follows it element by element, or why there is none."""
    first, *rest = (node for node in region.nodes if node.inputs)
    if first.op != "bias_dw" or first.inputs[0].type.dtype is not DType.F32:
        return f"the region begins with {first.op} of {first.inputs[0].type.dtype}"
    strange = next((node.op for node in rest if not _follows(node, first)), None)
    return f"{strange} cannot follow bias_dw" if strange else _built(region, target, first)


def _follows(node: Node, first: Node) -> bool:
    inside = {access_of(node, place) for place, x in enumerate(node.inputs) if x.inputs}
    pointwise = node.op in RULES and node.op not in VIEWS
    return pointwise and node.type.shape == first.type.shape and inside <= {Access.SAME}


def _built(region: Graph, target: Cpu, node: Node) -> Built:
    w = Writer(region, target)
    epilogue, sums = Epilogue(w, node), Sums(w, node)
    shape, images = node.type.shape, blocks(node.inputs[0].type)
    elements, trailing = prod(shape), prod(shape[1:])
    parts = min(images, -(-TASKS // elements))
    lanes = w.shared(elements, parts, LANES)
    with w.tasks(elements * parts) as task:
        element, part = w.let(task // parts), w.let(task % parts)
        some = w.let(images * part // parts), w.let(images * (part + 1) // parts)
        total = sums.images(w.indices(element, shape), some)
        w.put(lanes, total[VECTOR], element, part, VECTOR)
    with w.tasks(blocks(node.type) * trailing) as task:
        block, number = w.let(task // trailing), w.let(task % trailing)
        total = sums.channels(
            block,
            lambda channel: added(
                [lanes[channel * trailing + number, part, VECTOR] for part in range(parts)]
            ),
        )
        epilogue.write((block, *w.indices(number, shape[1:])), lambda lane: total[lane])
    return w.built()
