"""The memory of GPUs, as a plan uses it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime.cuda.driver import Driver, Stream
from runtime.memory import Bytes


class Arena:
    """The arena of a logical device. The host reads and writes when nothing runs."""

    def __init__(
        self, driver: Driver, size: int, stream: Stream, settle: Callable[[], None]
    ) -> None:
        """`stream` copies, `settle` waits for all that was started. May raise DoesNotFit."""
        self.address = driver.allocate(stream.gpu, size)
        self._driver, self._stream, self._settle = driver, stream, settle

    def read(self, offset: int, size: int) -> Bytes:
        """A copy."""
        self._settle()
        data = np.empty(size, np.uint8)
        self._driver.download(data, self.address + offset, self._stream)
        self._settle()
        return data

    def write(self, offset: int, data: Bytes) -> None:
        """Put bytes at an offset."""
        self._settle()
        self._driver.upload(self.address + offset, data, self._stream)
        self._settle()


@dataclass(frozen=True)
class Device:
    """What a logical device has: a share of a GPU, and streams for kernels, moves and uploads."""

    number: int
    arena: Arena
    scratch: int
    compute: Stream
    copies: Stream
    uploads: Stream

    @property
    def gpu(self) -> int:
        """The GPU that it is bound to."""
        return self.compute.gpu
