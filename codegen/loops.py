"""A small writer of TVM's loop language (TIR): loops, stores and conditions as `with` blocks.

A kernel is one PrimFunc over raw pointers. TVMScript would have to be parsed, which costs more
than compiling it; nodes are built directly instead.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm import ir, tirx

Expr = Any
"""A scalar TIR expression, or a Python number."""


class Loops:
    """Collects statements; `with` blocks nest them."""

    def __init__(self) -> None:
        self._blocks: list[list[Any]] = [[]]
        self._count = 0

    # ------------------------------------------------------------------------ names

    def var(self, name: str, dtype: str = "int32") -> Any:
        """A fresh scalar variable."""
        self._count += 1
        return tirx.Var(f"{name}{self._count}", dtype)

    def buffer(self, pointer: Any, shape: Sequence[int], dtype: str) -> Any:
        """A typed view of memory that a pointer leads to."""
        self._count += 1
        view = tirx.decl_buffer(shape, dtype, f"{pointer.name}_{self._count}", data=pointer)
        self._add(tirx.DeclBuffer(view, data=pointer))
        return view

    def local(self, *shape: int, dtype: str = "float32") -> Any:
        """A small array that becomes registers: index it by constants only, lanes aside."""
        # TVM keeps only "global" arrays below 1 KB off the heap.
        return self.allocate(shape, dtype, "global")

    def allocate(self, shape: Sequence[int], dtype: str, scope: str) -> Any:
        """An array in one of TVM's kinds of memory, until the end of the block."""
        self._count += 1
        array = tirx.decl_buffer(shape, dtype, f"r{self._count}", scope=scope)
        self._add(tirx.AllocBuffer(array))
        return array

    def let(self, value: Expr, dtype: str = "int32") -> Any:
        """A variable bound to a value for the rest of the block."""
        var = self.var("t", dtype)
        self._add(tirx.Bind(var, value))
        return var

    def opaque(self, value: Expr) -> Any:
        """The same for an integer of which TVM knows nothing. Its simplifier takes variables for
        their values: minima and quotients of each other take it forever, or divide by zero."""
        room = self.local(1, dtype="int32")
        self.store(room, value, 0)
        return self.let(room[0])

    # ------------------------------------------------------------------------ statements

    def store(self, buffer: Any, value: Expr, *indices: Expr) -> None:
        """buffer[indices] = value"""
        self._add(tirx.BufferStore(buffer, value, list(indices)))

    def call(self, function: str, *arguments: Expr) -> None:
        """A function of the device's own."""
        values = [_expr(argument) for argument in arguments]
        self._add(tirx.Evaluate(tirx.call_extern("int32", function, *values)))

    def address(self, array: Any, first: Expr, count: int) -> Any:
        """Of neighbours in an array; TVM drops what no element of it is ever named by."""
        return tirx.address_of(array[tirx.Ramp(first, 1, count) if count > 1 else first])

    def prefetch(self, element: Expr, *, write: bool = False) -> None:
        """Have the cache line of an array's element at hand soon, to read or to write it."""
        options = [tirx.const(each, "int32") for each in (write, 3, 1)]
        address = tirx.address_of(element)
        self._add(tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, *options)))

    @contextmanager
    def serial(self, extent: Expr, begin: Expr = 0) -> Iterator[Any]:
        """for i in range(begin, begin + extent)"""
        with self._loop(begin, extent, tirx.ForKind.SERIAL) as i:
            yield i

    @contextmanager
    def unrolled(self, extent: int) -> Iterator[Any]:
        """The same, written out, so that it may index registers."""
        with self._loop(0, extent, tirx.ForKind.UNROLLED) as i:
            yield i

    @contextmanager
    def parallel(self, extent: Expr) -> Iterator[Any]:
        """The same, its iterations shared by the threads of the device."""
        with self._loop(0, extent, tirx.ForKind.PARALLEL) as i:
            yield i

    @contextmanager
    def vector(self, count: int) -> Iterator[Any]:
        """for i in range(count), as one vector instruction"""
        with self._loop(0, count, tirx.ForKind.VECTORIZED) as i:
            yield i

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """if condition"""
        with self._nested() as body:
            yield
        self._add(tirx.IfThenElse(condition, _sequence(body), None))

    @contextmanager
    def launched(self, **extents: int) -> Iterator[list[Any]]:
        """The body as a GPU kernel, by extents such as `blockIdx_x=8`. Yields the indices."""
        indices = [self.var(name) for name in extents]
        with self._nested() as body:
            yield indices
        nest = _sequence(body)
        for index, (name, extent) in zip(indices, extents.items(), strict=True):
            tag, span = name.replace("_", "."), ir.Range(0, extent)
            axis = tirx.IterVar(span, index, tirx.IterVar.ThreadIndex, tag)
            nest = tirx.AttrStmt(axis, "thread_extent", _expr(extent), nest)
        self._add(nest)

    def barrier(self) -> None:
        """Wait for all threads of a GPU's block."""
        self._add(tirx.Evaluate(tirx.call_intrin("int32", "tirx.tvm_storage_sync", "shared")))

    @contextmanager
    def _loop(self, begin: Expr, extent: Expr, kind: Any) -> Iterator[Any]:
        i = self.var("i")
        with self._nested() as body:
            yield i + begin
        # From 0: a loop of one step from elsewhere loses its beginning in TVM.
        self._add(tirx.For(i, _expr(0), _expr(extent), kind, _sequence(body)))

    @contextmanager
    def _nested(self) -> Iterator[list[Any]]:
        body: list[Any] = []
        self._blocks.append(body)
        yield body
        self._blocks.pop()

    def _add(self, statement: Any) -> None:
        self._blocks[-1].append(statement)

    # ------------------------------------------------------------------------ the whole

    def function(self, params: Sequence[Any], *, device: int, noalias: bool) -> Any:
        """The PrimFunc `kernel` of what was written, for a kind of device by DLPack's number."""
        body = _sequence(self._blocks[0])
        # Without a tensor argument nothing tells TVM which device local arrays belong to.
        body = tirx.AttrStmt(ir.StringImm("default"), "device_id", _expr(0), body)
        body = tirx.AttrStmt(ir.StringImm("default"), "device_type", _expr(device), body)
        function = tirx.PrimFunc(list(params), body)
        function = function.with_attr("global_symbol", "kernel")
        return function.with_attr("tirx.noalias", noalias)


def _expr(value: Expr) -> Any:
    return tirx.const(value, "int32") if isinstance(value, int) else value


def _sequence(statements: list[Any]) -> Any:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)
