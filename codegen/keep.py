"""Values within a network that its evaluation puts out on request, by the names they have there.

They become outputs before the network is cut, so that a value in pieces is put together again.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from ir.command import Error
from ir.graph import Graph
from ir.ops import row_of


def keeping(network: Graph, names: Sequence[str]) -> Graph:
    """The network with further outputs behind its own.

    Raises Error for a name that no computed value has.
    """
    known = {node.name: node for node in network.nodes if not row_of(node).is_leaf}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=5, cutoff=0.4) or list(known)[-5:]
            raise Error(
                f"--keep {name}: {network.name} computes no value of that name, "
                f"expected one such as {', '.join(near)}"
            )
    kept = dict.fromkeys(known[name] for name in names)
    further = [node for node in kept if node not in network.outputs]
    return network.replace(outputs=[*network.outputs, *further])
