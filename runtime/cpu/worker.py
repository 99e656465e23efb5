"""A thread of its own for each physical device."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread


class Job:
    """Something to do, and whether it is done."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._do = do
        self._done = Event()

    def work(self) -> None:
        """Do it; keep what it raises."""
        try:
            self._do()
        except BaseException as error:
            self.error = error
        finally:
            self._done.set()

    def wait(self) -> None:
        """Return when it is done."""
        self._done.wait()

    def result(self) -> None:
        """Return when it is done; raise what it raised."""
        self.wait()
        if self.error is not None:
            raise self.error


class Worker:
    """A thread that does one job after another, each to its end.

    An interrupt of the caller leaves every job queued or not, and the thread as it was.
    """

    def __init__(self, name: str, prepare: Callable[[], object]) -> None:
        """`prepare` is done first."""
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._jobs.put(Job(prepare))
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, do: Callable[[], object]) -> Job:
        """Queue a job."""
        job = Job(do)
        self._jobs.put(job)
        return job

    def drain(self) -> None:
        """Return when all that was queued is done."""
        self.submit(int).wait()

    def close(self) -> None:
        """End the thread, after all that was queued."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while job := self._jobs.get():
            job.work()
            del job  # and what it holds
