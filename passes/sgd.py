"""sgd: the update of every parameter, as part of the program (paper section 5).

Needs gradients. Ensures an update for each parameter that has one, and for its momentum. Rates,
momentum and decay are fed: `conv1.weight.rate` for each parameter, `momentum` and `decay` for
all, so schedules need no rebuild; a parameter's `decay` attribute multiplies the fed decay.

With accumulation over N batches there are two programs: `accumulate` sums gradients into states
(`keep` is fed 0 for the first batch of a round, which starts the sum anew, else 1), `apply`
divides the sums by N and updates. The bf16 copy of a parameter is updated with it.
"""

from ir.graph import AttrValue, Graph, Names, Node, Pair
from ir.leaf import bf16_copies, logical_name
from ir.ops import apply
from ir.type import DType, TensorType
from passes.context import Context


def sgd(graph: Graph, context: Context) -> Graph:
    """Update from the gradients of this very program."""
    builder = _Builder(graph, list(graph.nodes))
    updates = [pair for g in graph.gradients for pair in builder.update(g.leaf, g.value)]
    return graph.replace(nodes=builder.nodes, gradients=(), updates=graph.updates + tuple(updates))


def accumulate(graph: Graph, context: Context) -> Graph:
    """Add the gradients of this program to sums kept between steps."""
    builder = _Builder(graph, list(graph.nodes))
    updates: list[Pair] = []
    for pair in graph.gradients:
        total = builder.state(pair.leaf, "sum")
        keep = builder.scalar("keep", pair.leaf)
        new = builder.emit("accumulate", f"{total.name}.next", total, pair.value, keep)
        updates.append(Pair(total, new))
    return graph.replace(nodes=builder.nodes, gradients=(), updates=graph.updates + tuple(updates))


def apply_sums(graph: Graph, context: Context) -> Graph:
    """The program that updates from sums over `context.accumulate` batches."""
    builder = _Builder(graph, _updated(graph))
    updates: list[Pair] = []
    for pair in graph.gradients:
        total = builder.state(pair.leaf, "sum")
        mean = builder.emit("scale", f"{pair.leaf.name}.d", total, by=1.0 / context.accumulate)
        updates += builder.update(pair.leaf, mean)
    name = f"{graph.name}.apply"
    return graph.replace(name=name, nodes=builder.nodes, outputs=(), gradients=(), updates=updates)


def _updated(graph: Graph) -> list[Node]:
    """The parameters that have gradients, each with its copy."""
    copies = bf16_copies(graph)
    pairs = ((pair.leaf, copies.get(pair.leaf)) for pair in graph.gradients)
    return [leaf for pair in pairs for leaf in pair if leaf is not None]


class _Builder:
    """Appends the update's nodes; scalars are shared by the parameters of one device."""

    def __init__(self, graph: Graph, nodes: list[Node]) -> None:
        self.nodes = nodes
        self._names = Names(node.name for node in graph.nodes)
        self._copies = bf16_copies(graph)
        self._scalars: dict[tuple[str, TensorType], Node] = {}
        self._logical: set[str] = set()

    def update(self, w: Node, g: Node) -> list[Pair]:
        """The next momentum and the next value of one parameter, and of its copy."""
        v = self.state(w, "momentum")
        rate = self.scalar(f"{logical_name(w)}.rate", w)
        momentum, decay = self.scalar("momentum", w), self.scalar("decay", w)
        new_v = self.emit(
            "sgd_velocity",
            f"{v.name}.next",
            v,
            w,
            g,
            rate,
            momentum,
            decay,
            decay_by=w.attrs["decay"],
        )
        new_w = self.emit("sgd_weight", f"{w.name}.next", w, new_v, rate)
        return [Pair(v, new_v), Pair(w, new_w), *self._copied(w, new_w)]

    def _copied(self, w: Node, new_w: Node) -> list[Pair]:
        copy = self._copies.get(w)
        if copy is None:
            return []
        to = copy.type.dtype.value
        return [Pair(copy, self.emit("cast", f"{copy.name}.next", new_w, to=to))]

    def state(self, param: Node, suffix: str) -> Node:
        """A state beside a parameter: the same piece of a logical tensor of its own."""
        piece: dict[str, AttrValue] = {key: param.attrs[key] for key in ("whole", "offset")}
        if piece["whole"]:
            piece["of"] = f"{logical_name(param)}.{suffix}"
        return self._leaf("state", f"{param.name}.{suffix}", param.type, piece)

    def scalar(self, logical: str, beside: Node) -> Node:
        """A fed f32[] on the device of another node."""
        scalar = TensorType((), DType.F32, beside.device)
        if (logical, scalar) not in self._scalars:
            again = logical in self._logical and beside.device
            name = f"{logical}.on{again.index}" if again else logical
            self._logical.add(logical)
            self._scalars[logical, scalar] = self._leaf("input", name, scalar, {"of": logical})
        return self._scalars[logical, scalar]

    def emit(self, op: str, name: str, *inputs: Node, **attrs: AttrValue) -> Node:
        """Append an op."""
        self.nodes.append(apply(op, *inputs, name=self._names.fresh(name), type=None, **attrs))
        return self.nodes[-1]

    def _leaf(self, op: str, name: str, type: TensorType, attrs: dict[str, AttrValue]) -> Node:
        fresh = self._names.fresh(name)
        if attrs.get("of") == fresh:
            del attrs["of"]
        self.nodes.append(apply(op, name=fresh, type=type, **attrs))
        return self.nodes[-1]
