"""Models as Python: a `Model` collects nodes, a `Tensor` is one of them.

The layers stand in `frontend/layers.py`. What is wrong with a model is reported at the line of the
model, never inside the DSL: `reports` decorates every function that a model calls.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import ParamSpec, TypeVar

from ir.command import Error
from ir.graph import AttrValue, Graph, Node, ancestors
from ir.op import check_name, require
from ir.ops import apply
from ir.printer import print_node
from ir.type import DType, IRError, TensorType
from ir.verify import verify

P = ParamSpec("P")
R = TypeVar("R")

_OURS = ("frontend.dsl", "frontend.layers")


# ---------------------------------------------------------------------------- errors


class ModelError(Error):
    """A model asks for the impossible; the message begins with the model's own line."""


def reports(kind: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate what models call: an IRError inside becomes a ModelError at the caller's line.

    The signature is the schema: arguments are checked against its plain types. A call from within
    the DSL passes straight through, so the outermost call, the one the user wrote, reports.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def reporting(*args: P.args, **kwargs: P.kwargs) -> R:
            caller = sys._getframe(1)
            if caller.f_globals.get("__name__") in _OURS:
                return function(*args, **kwargs)
            try:
                _check_arguments(signature, *args, **kwargs)
                return function(*args, **kwargs)
            except IRError as error:
                named = _name(signature, *args, **kwargs) or function.__name__
                raise ModelError(f"{_place(caller)}: {kind} '{named}': {error}") from error

        return reporting

    return decorate


def _check_arguments(signature: inspect.Signature, *args: object, **kwargs: object) -> None:
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        expected = ", ".join(name for name in signature.parameters if name != "self")
        raise IRError(f"{error}; expected ({expected})") from None
    for name, value in given.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            for one in value:
                _check_kind(name, one, parameter.annotation)
        elif parameter.kind is not parameter.VAR_KEYWORD and name != "self":
            _check_kind(name, value, parameter.annotation)


def _check_kind(name: str, value: object, kind: type) -> None:
    fits = isinstance(value, int | float if kind is float else kind)
    require(
        fits and (kind is bool or not isinstance(value, bool)),
        f"{name} is {value!r}; expected {getattr(kind, '__name__', kind)}",
    )


def _name(signature: inspect.Signature, *args: object, **kwargs: object) -> object:
    """What the arguments, complete or not, call the layer or the model."""
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:
        return None
    return given.get("name") or getattr(given.get("self"), "name", None)


def _place(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{frame.f_lineno}"


# ---------------------------------------------------------------------------- model


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of a model that is being written."""

    node: Node
    model: "Model"

    @property
    def type(self) -> TensorType:
        """What the value is."""
        return self.node.type

    @property
    def shape(self) -> tuple[int, ...]:
        """Its extents, images first."""
        return self.node.type.shape


class Model:
    """A program that is being written, for a batch of a fixed size."""

    @reports("model")
    def __init__(self, name: str, batch: int) -> None:
        require(batch >= 1, f"batch is {batch}; expected >= 1")
        self.name = check_name(name)
        self.batch = batch
        self._nodes: dict[str, Node] = {}

    def __iter__(self) -> Iterator[Node]:
        """The nodes written so far, in order."""
        return iter(self._nodes.values())

    @reports("input")
    def input(self, name: str, *shape: int, dtype: DType = DType.F32, below: int = 0) -> Tensor:
        """A fed tensor. Layers that read the same input declare it again, in the same words."""
        fed = apply("input", name=name, type=TensorType(shape, dtype), below=below)
        known = self._nodes.get(name, fed)
        if print_node(known) == print_node(fed):
            self._nodes[name] = known
            return Tensor(known, self)
        return self._add(fed)

    @reports("param")
    def param(
        self,
        name: str,
        *shape: int,
        value: float = 0.0,
        std: float = 0.0,
        rate: float = 1.0,
        decay: float = 1.0,
    ) -> Tensor:
        """A trained tensor, drawn from N(value, std^2); `rate` and `decay` are multipliers."""
        declared = TensorType(shape, DType.F32)
        return self._add(
            apply("param", name=name, type=declared, value=value, std=std, rate=rate, decay=decay)
        )

    @reports("layer")
    def apply(self, op: str, *inputs: Tensor, name: str, **attrs: AttrValue) -> Tensor:
        """One op of the IR, for what `frontend.layers` does not have."""
        for x in inputs:
            require(x.model is self, f"'{x.node.name}' is another model's; expected one of this")
        nodes = (x.node for x in inputs)
        return self._add(apply(op, *nodes, name=name, type=None, **attrs))

    @reports("model")
    def finish(self, *outputs: Tensor) -> Graph:
        """The finished program; everything written must lead to an output."""
        graph = Graph(self.name, tuple(self), tuple(x.node for x in outputs))
        verify(graph)
        read = ancestors(graph.outputs)
        idle = [node.name for node in self if node not in read]
        if idle:
            raise IRError(f"nothing reads '{idle[-1]}'; expected it to lead to an output")
        return graph

    def _add(self, node: Node) -> Tensor:
        if node.name in self._nodes:
            taken = print_node(self._nodes[node.name])
            raise IRError(f"the name is taken by '{taken}'; expected a new one")
        self._nodes[node.name] = node
        return Tensor(node, self)
