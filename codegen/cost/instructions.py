"""The instructions of straight code, by kind. What stays in registers is neither loaded nor stored.

Addresses cost nothing: they are computed beside. An instruction handles all lanes, or one element
where code is not vectorised; elements that lie apart are loaded one by one.
"""

from typing import Any

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.ir import expr as ir

from codegen.targets import Cpu
from ir.plan import Work

LANES = Cpu.lanes
PLACE = {kind: place for place, kind in enumerate(Work.__struct_fields__)}
SUMS = (tirx.Add, tirx.Sub)
MATH = ("exp", "log", "pow", "sqrt", "rsqrt", "tanh", "sigmoid")
"""Calls that take many cycles."""
FREE = (tirx.IntImm, tirx.FloatImm, tirx.Var, tirx.Ramp)
PARTS = ("a", "b", "condition", "true_value", "false_value", "value", "args")
"""Where operands of an expression are."""


class Straight:
    """Counts of statements one after another; what is loaded twice counts once.

    `registers` are arrays that are no memory, `lane` the variable of a vectorised loop around.
    """

    def __init__(self, registers: set[Any], lane: Any) -> None:
        self.counts = np.zeros(len(PLACE))
        self._registers, self._lane = registers, lane
        self._loaded: set[int] = set()

    def add(self, statement: Any) -> None:
        """One more statement."""
        if isinstance(statement, tirx.BufferStore):
            self._expression(statement.value)
            if statement.buffer not in self._registers:
                self._count(
                    "stores" if self._is_vector(statement.value) else "scalars", statement.value
                )
        elif isinstance(statement, tirx.Bind | tirx.Evaluate):
            self._expression(statement.value)

    def _count(self, kind: str, expr: Any, times: int = 1) -> None:
        # Elements of 64 bits fill two registers.
        self.counts[PLACE[kind]] += times * (2 if "64" in str(expr.ty) else 1)

    def _is_vector(self, expr: Any) -> bool:
        return self._lane is not None or "x" in str(expr.ty)

    def _expression(self, expr: Any) -> None:
        if isinstance(expr, FREE):
            return
        if isinstance(expr, ir.TensorLoad):
            self._load(expr)
        elif fused := _multiply_add(expr):
            self._count("multiply_adds", expr)
            for each in fused:
                self._expression(each)
        else:
            if not isinstance(expr, tirx.Broadcast):
                self._count("dear" if _is_dear(expr) else "simple", expr)
            for each in _operands(expr):
                self._expression(each)

    def _load(self, load: Any) -> None:
        place = tvm_ffi.structural_hash(load)
        if load.source not in self._registers and place not in self._loaded:
            self._loaded.add(place)
            if self._lane is not None and any(
                _reads(i, self._lane) for i in list(load.indices)[:-1]
            ):
                self._count("scalars", load, LANES)
            else:
                self._count("loads", load)


def _multiply_add(expr: Any) -> list[Any]:
    """The three operands of a sum of floats one of which is a product; else none."""
    if isinstance(expr, SUMS) and str(expr.ty).startswith("float"):
        for one, other in ((expr.b, expr.a), (expr.a, expr.b)):
            if isinstance(one, tirx.Mul):
                return [one.a, one.b, other]
    return []


def _is_dear(expr: Any) -> bool:
    if isinstance(expr, ir.Call):
        return str(expr.op.name).rpartition(".")[2] in MATH
    return isinstance(expr, tirx.Div) and str(expr.ty).startswith("float")


def _reads(expr: Any, var: Any) -> bool:
    """Whether an expression depends on a variable."""
    if isinstance(expr, tirx.Var):
        return bool(expr.same_as(var))
    inner = list(expr.indices) if isinstance(expr, ir.TensorLoad) else _operands(expr)
    return any(_reads(each, var) for each in inner)


def _operands(expr: Any) -> list[Any]:
    if isinstance(expr, tirx.IntImm | tirx.FloatImm):
        return []
    found = [getattr(expr, part) for part in PARTS if hasattr(expr, part)]
    return [each for part in found for each in (part if hasattr(part, "__len__") else [part])]
