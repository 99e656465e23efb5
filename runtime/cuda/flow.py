"""Hands a run's tasks to their streams, with the events that keep their order."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter

from runtime.cuda.driver import Driver, Event, Graph, Stream
from runtime.cuda.hazards import waits
from runtime.cuda.tasks import Task
from runtime.executor import Event as Seen

Around = Callable[[Task], AbstractContextManager[None]]
"""What happens before and after a task, in its stream."""


class Flow:
    """Tasks of one run. They begin after what is before in `origin`, which waits for all."""

    def __init__(self, driver: Driver, tasks: Sequence[Task], origin: Stream) -> None:
        self._driver, self._tasks, self._origin = driver, tasks, origin
        self._waits = waits(tasks)
        awaited = {place for places in self._waits for place in places}
        self._events = {place: driver.event(tasks[place].stream.gpu) for place in sorted(awaited)}
        others = dict.fromkeys(task.stream for task in tasks if task.stream is not origin)
        self._begin = driver.event(origin.gpu)
        self._ends = {stream: driver.event(stream.gpu) for stream in others}

    def issue(self, around: Around = lambda task: nullcontext()) -> None:
        """Start everything; nothing is waited for here."""
        driver = self._driver
        driver.record(self._begin, self._origin)
        for stream in self._ends:
            driver.wait(stream, self._begin)
        for place, (task, before) in enumerate(zip(self._tasks, self._waits, strict=True)):
            for other in before:
                driver.wait(task.stream, self._events[other])
            with around(task):
                task.issue()
            if place in self._events:
                driver.record(self._events[place], task.stream)
        for stream, end in self._ends.items():
            driver.record(end, stream)
            driver.wait(self._origin, end)

    def capture(self) -> Graph:
        """The same as a graph, to be replayed in `origin`; nothing is done yet."""
        self._driver.begin_capture(self._origin)
        self.issue()
        return self._driver.end_capture(self._origin)


class Stopwatch:
    """When tasks begin and end, by the GPUs' own clocks."""

    def __init__(self, driver: Driver, streams: Sequence[Stream]) -> None:
        """`streams` has one for each GPU at least; nothing may run there now."""
        self._driver = driver
        self._zeros = {stream.gpu: driver.event(stream.gpu, timed=True) for stream in streams}
        self._times: list[tuple[Task, Event, Event]] = []
        for stream in streams:
            driver.record(self._zeros[stream.gpu], stream)
        self._zero = perf_counter()

    @contextmanager
    def time(self, task: Task) -> Iterator[None]:
        """Note when a task begins and ends."""
        start, end = (self._driver.event(task.stream.gpu, timed=True) for _ in range(2))
        self._driver.record(start, task.stream)
        yield
        self._driver.record(end, task.stream)
        self._times.append((task, start, end))

    def seen(self) -> Iterator[Seen]:
        """What was noted of steps; all of it must have happened."""
        for task, start, end in self._times:
            if task.step is not None:
                first, last = (self._zero + self._since(event) for event in (start, end))
                for device in task.devices:
                    yield Seen(device, task.step, first, last)

    def _since(self, event: Event) -> float:
        return self._driver.seconds(self._zeros[event.gpu], event)
