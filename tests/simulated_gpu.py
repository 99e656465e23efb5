"""GPUs without a GPU: `runtime.cuda.driver.Driver` with memory in NumPy and streams as queues.

Nothing that a stream is given happens before somebody waits for it. Then some streams, drawn at
random, run on as far as events allow, while others stand still. What was not ordered, or is read
too early, shows as wrong numbers. All memory begins as NaN.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import numpy as np

from codegen.cuda import emulator
from ir.command import Error
from ir.plan import DTYPES, ITEM_BYTES, TensorMap
from runtime.cuda.driver import Driver, Event, Extents, Function, Gpu, Graph, Stream
from runtime.fit import DoesNotFit
from runtime.memory import Bytes


class Launchable(Protocol):
    """One launch: grid, block, addresses and maps, bytes of shared memory that it asks for."""

    def __call__(
        self, grid: Extents, block: Extents, given: Sequence[Any], *, shared: int
    ) -> object: ...


class Module(Protocol):
    """The functions of a binary, by symbol; raises KeyError or Error for an unknown one."""

    def __getitem__(self, symbol: str) -> Launchable: ...


Modules = Callable[[bytes], Module]
"""What a binary holds."""

ALIGNMENT = 256
GB = 10**9
MOODINESS = 0.05
"""How often a queue becomes more or less eager."""


@dataclass(eq=False)
class Moment:
    """A recorded event; `knows` says what had been noted before it, within a capture."""

    happened: bool = False
    time: float = 0.0
    knows: frozenset[int] | None = None


@dataclass
class Entry:
    """Something in a queue: it waits for moments, does something, and is a moment itself."""

    do: Callable[[], object] = int
    after: list[Moment] = field(default_factory=list)
    moment: Moment | None = None


class Queue(deque[Entry]):
    """What a stream, or a part of a graph, has still to do; the most eager one goes on."""

    eager = 0.0


@dataclass
class Capture:
    """What is noted for each stream that takes part, and what each knows to be before."""

    origin: Queue
    entries: dict[int, list[Entry]] = field(default_factory=dict)
    known: dict[int, set[int]] = field(default_factory=dict)
    count: int = 0

    def join(self, queue: Queue, knows: frozenset[int]) -> None:
        self.entries.setdefault(id(queue), [])
        self.known.setdefault(id(queue), set()).update(knows)

    def note(self, queue: Queue, entry: Entry) -> None:
        self.known[id(queue)].add(self.count)
        self.count += 1
        self.entries[id(queue)].append(entry)


class SimulatedDriver(Driver):
    """`peers` tells whether GPUs reach each other's memory, `room` how many bytes each has."""

    def __init__(
        self,
        modules: Modules,
        gpus: Sequence[Gpu] = (Gpu("Simulated", "sm_90a"),),
        *,
        peers: bool = True,
        room: int = GB,
        seed: int = 0,
    ) -> None:
        self._modules, self._gpus, self._peers = modules, gpus, peers
        self._random = Random(seed)
        self._left = dict.fromkeys(range(len(gpus)), room)
        self._memory: dict[int, list[Bytes]] = {}
        self._pinned: list[Bytes] = []
        self._shared: set[tuple[int, int]] = set()
        self._permitted: dict[Function, int] = {}
        self._streams: list[tuple[int, Queue]] = []
        self._parts: list[Queue] = []  # of graphs that are being replayed
        self._capture: Capture | None = None
        self._clock = 0.0
        self.closed = False
        self.calls: list[str] = []

    def close(self) -> None:
        self.closed = True

    # ---------------------------------------------------------------------------- GPUs

    def count(self) -> int:
        return len(self._gpus)

    def gpu(self, number: int) -> Gpu:
        return self._gpus[number]

    def open(self, gpu: int) -> None:
        if gpu >= self.count():
            raise Error(f"cuda:{gpu} does not exist")
        assert gpu not in self._memory, "opened twice"
        self._memory[gpu] = []

    def free(self, gpu: int) -> int:
        return self._left[gpu]

    def share(self, gpu: int, other: int) -> bool:
        if self._peers:
            self._shared |= {(gpu, other), (other, gpu)}
        return self._peers

    def synchronise(self, gpu: int) -> None:
        self.calls.append("synchronise")
        self._until(lambda: not any(queue for own, queue in self._streams if own == gpu))

    # -------------------------------------------------------------------------- memory

    def allocate(self, gpu: int, size: int) -> int:
        if size > self._left[gpu]:
            raise DoesNotFit("cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory")
        self._left[gpu] -= size
        return self._place(size, self._memory[gpu])

    def pin(self, gpu: int, size: int) -> Bytes:
        assert gpu in self._memory
        begin = self._place(size, self._pinned)
        return self._pinned[-1][begin - self._pinned[-1].ctypes.data :][:size]

    def upload(self, target: int, source: Bytes, stream: Stream) -> None:
        assert source.flags.c_contiguous
        place = self._bytes(stream.gpu, target, source.size)
        self._give(stream, lambda: np.copyto(place, source))

    def download(self, target: Bytes, source: int, stream: Stream) -> None:
        assert target.flags.c_contiguous
        place = self._bytes(stream.gpu, source, target.size)
        self._give(stream, lambda: np.copyto(target, place))

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        to, of = (self._bytes(stream.gpu, address, size) for address in (target, source))
        self._give(stream, lambda: np.copyto(to, of))

    # ------------------------------------------------------------------------- kernels

    def load(self, gpu: int, image: bytes, symbols: Sequence[str]) -> dict[str, Function]:
        module = self._modules(image)
        try:
            return {symbol: Function(gpu, module[symbol]) for symbol in symbols}
        except KeyError:
            missing = "CUDA_ERROR_NOT_FOUND: named symbol not found"
            raise Error(f"cuModuleGetFunction: {missing}") from None

    def tensor_map(self, gpu: int, map: TensorMap, dtype: DTYPES, address: int) -> Any:
        self._bytes(gpu, address, 1, strict=True)
        return emulator.tensor_map(map, ITEM_BYTES[dtype], address)

    def permit(self, function: Function, shared: int) -> None:
        self._permitted[function] = shared

    def launch(
        self,
        function: Function,
        grid: Extents,
        block: Extents,
        arguments: Sequence[Any],
        stream: Stream,
        *,
        shared: int = 0,
    ) -> None:
        assert function.gpu == stream.gpu, "loaded on another GPU"
        assert shared <= self._permitted.get(function, 0), "more shared memory than is permitted"
        for pointer in filter(lambda each: isinstance(each, int), arguments):
            self._bytes(stream.gpu, pointer, 1, strict=True)
        given = list(arguments)
        self._give(stream, lambda: function.handle(grid, block, given, shared=shared))

    # ----------------------------------------------------------------- streams, events

    def stream(self, gpu: int) -> Stream:
        queue = self._queue()
        self._streams.append((gpu, queue))
        return Stream(gpu, queue)

    def event(self, gpu: int, *, timed: bool = False) -> Event:
        return Event(gpu, {"moment": None, "timed": timed})

    def record(self, event: Event, stream: Stream) -> None:
        assert event.gpu == stream.gpu, "an event is recorded on its own GPU"
        moment = Moment()
        event.handle["moment"] = moment
        self._give(stream, int, moment=moment)
        if self._noting(stream) and self._capture:
            moment.knows = frozenset(self._capture.known[id(stream.handle)])

    def wait(self, stream: Stream, event: Event) -> None:
        moment = event.handle["moment"]
        if moment is None:
            return
        if moment.knows is not None and self._capture is not None:
            self._capture.join(stream.handle, moment.knows)
        assert (moment.knows is not None) == self._noting(stream), "a wait out of the capture"
        self._give(stream, int, after=moment)

    def finish(self, event: Event) -> None:
        moment = event.handle["moment"]
        if moment is not None:
            self._until(lambda: moment.happened)

    def seconds(self, start: Event, end: Event) -> float:
        assert start.gpu == end.gpu
        moments = start.handle["moment"], end.handle["moment"]
        assert start.handle["timed"]
        assert end.handle["timed"]
        assert all(moment.happened for moment in moments)
        return float(moments[1].time - moments[0].time)

    # -------------------------------------------------------------------------- graphs

    def begin_capture(self, stream: Stream) -> None:
        assert self._capture is None
        self._capture = Capture(stream.handle)
        self._capture.join(stream.handle, frozenset())

    def end_capture(self, stream: Stream) -> Graph:
        capture, self._capture = self._capture, None
        assert capture is not None
        assert capture.origin is stream.handle
        assert len(capture.known[id(stream.handle)]) == capture.count, "streams were not joined"
        return Graph(list(capture.entries.values()))

    def replay(self, graph: Graph, stream: Stream) -> None:
        self.calls.append("replay")
        assert self._capture is None
        start, ends = Moment(), []
        self._give(stream, int, moment=start)
        fresh: dict[Moment, Moment] = {}
        for entries in graph.handle:
            end = Moment()
            again = [_again(entry, fresh) for entry in entries]
            queue = self._queue(Entry(after=[start]), *again, Entry(moment=end))
            self._parts.append(queue)
            ends.append(end)
        for end in ends:
            self._give(stream, int, after=end)

    # -------------------------------------------------------------------- what happens

    def _noting(self, stream: Stream) -> bool:
        return self._capture is not None and id(stream.handle) in self._capture.entries

    def _give(
        self,
        stream: Stream,
        do: Callable[[], object],
        *,
        after: Moment | None = None,
        moment: Moment | None = None,
    ) -> None:
        assert not self.closed
        entry = Entry(do, [after] if after else [], moment)
        if self._noting(stream) and self._capture:
            self._capture.note(stream.handle, entry)
        else:
            stream.handle.append(entry)

    def _until(self, done: Callable[[], bool]) -> None:
        assert self._capture is None, "waited for in a capture"
        while not done():
            queues = [*(queue for _, queue in self._streams), *self._parts]
            ready = [q for q in queues if q and all(moment.happened for moment in q[0].after)]
            assert ready, "everything waits"
            if self._random.random() < MOODINESS:
                self._random.choice(queues).eager = self._random.random()
            entry = max(ready, key=lambda queue: queue.eager).popleft()
            entry.do()
            self._clock += 1e-6
            if entry.moment is not None:
                entry.moment.happened, entry.moment.time = True, self._clock
        self._parts = [queue for queue in self._parts if queue]

    def _queue(self, *entries: Entry) -> Queue:
        queue = Queue(entries)
        queue.eager = self._random.random()
        return queue

    def _place(self, size: int, memory: list[Bytes]) -> int:
        area = np.full(max(size, 1) + ALIGNMENT, 0xFF, np.uint8)
        memory.append(area)
        return area.ctypes.data + -area.ctypes.data % ALIGNMENT

    def _bytes(self, gpu: int, address: int, size: int, *, strict: bool = False) -> Bytes:
        """Memory that a GPU reaches; its own, if `strict`."""
        for owner, areas in self._memory.items():
            for area in areas:
                begin = area.ctypes.data
                if begin <= address and address + size <= begin + area.size:
                    reached = owner == gpu or (not strict and (gpu, owner) in self._shared)
                    assert reached, "memory of another GPU"
                    return area[address - begin :][:size]
        raise AssertionError(f"no memory of a GPU: {size} bytes at {address:#x}")


def _again(entry: Entry, fresh: dict[Moment, Moment]) -> Entry:
    """An entry of a graph for one replay, with moments of its own."""
    after = [fresh.setdefault(moment, Moment()) for moment in entry.after]
    moment = fresh.setdefault(entry.moment, Moment()) if entry.moment else None
    return Entry(entry.do, after, moment)
