"""The part of CUDA's driver that the runtime needs, with errors for people.

The package that wraps it is imported, and the driver found, when a `Driver` is made. GPUs go by
their number, device memory by addresses.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ir.command import Error
from ir.plan import DTYPES, TensorMap
from runtime.cuda.calls import Calls
from runtime.cuda.maps import Words, encoded
from runtime.memory import Bytes

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING
ALREADY_ENABLED = 704  # CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED
PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE: pinned for all GPUs

Extents = tuple[int, int, int]


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine: its name, the architecture to build for, such as sm_90a, and how many
    processors it has."""

    name: str
    arch: str
    processors: int = 1


@dataclass(frozen=True, eq=False)
class Stream:
    """Work done in order, on one GPU."""

    gpu: int
    handle: Any


@dataclass(frozen=True, eq=False)
class Event:
    """A moment in a stream of its GPU."""

    gpu: int
    handle: Any


@dataclass(frozen=True, eq=False)
class Function:
    """A kernel that is loaded on a GPU."""

    gpu: int
    handle: Any


@dataclass(frozen=True, eq=False)
class Graph:
    """Work of several streams that can be done again and again."""

    handle: Any


def gpus() -> list[Gpu]:
    """This machine's GPUs; none where CUDA cannot be used."""
    try:
        driver = Driver()
    except Error:
        return []
    return [driver.gpu(number) for number in range(driver.count())]


class Driver:
    """CUDA in this process. All that is made here lives until `close`.

    Every method raises Error, naming the call and CUDA's reason, when a call fails; `allocate` and
    `pin` raise DoesNotFit for lack of memory.
    """

    def __init__(self) -> None:
        """Raises Error without the package, without a driver, and for one that is too old."""
        self._call = Calls()
        self._contexts: dict[int, Any] = {}

    def close(self) -> None:
        """Let go of everything, the last made first."""
        self._call.close()

    # ---------------------------------------------------------------------------- GPUs

    def count(self) -> int:
        """How many GPUs there are."""
        return int(self._call("cuDeviceGetCount"))

    def gpu(self, number: int) -> Gpu:
        """What a GPU is."""
        device = self._call("cuDeviceGet", number)
        name = self._call("cuDeviceGetName", 256, device).partition(b"\0")[0].decode()
        attributes = self._call.names.CUdevice_attribute
        major, minor, processors = (
            int(self._call("cuDeviceGetAttribute", which, device))
            for which in (
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                attributes.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            )
        )
        arch = f"sm_{major}{minor}{'a' if (major, minor) == (9, 0) else ''}"
        return Gpu(name, arch, processors)

    def open(self, gpu: int) -> None:
        """Get a GPU ready; all below needs it. Raises Error for one that does not exist."""
        if gpu >= self.count():
            known = ", ".join(f"cuda:{number}" for number in range(self.count())) or "none"
            raise Error(f"cuda:{gpu} does not exist; expected one of this machine's GPUs: {known}")
        device = self._call("cuDeviceGet", gpu)
        self._contexts[gpu] = self._call("cuDevicePrimaryCtxRetain", device)
        self._call.later("cuDevicePrimaryCtxRelease", device)

    def free(self, gpu: int) -> int:
        """Bytes that a GPU has left."""
        self._use(gpu)
        return int(self._call("cuMemGetInfo")[0])

    def share(self, gpu: int, other: int) -> bool:
        """Let two GPUs reach each other's memory; whether they can."""
        devices = [self._call("cuDeviceGet", number) for number in (gpu, other)]
        for one, two in (devices, devices[::-1]):
            if not self._call("cuDeviceCanAccessPeer", one, two):
                return False
        for one, two in ((gpu, other), (other, gpu)):
            self._use(one)
            # Others in this process may have done so; it stays as long as the context.
            peer = self._contexts[two]
            self._call("cuCtxEnablePeerAccess", peer, 0, allowed=ALREADY_ENABLED)
        return True

    def synchronise(self, gpu: int) -> None:
        """Wait until nothing runs on a GPU."""
        self._use(gpu)
        self._call("cuCtxSynchronize")

    # -------------------------------------------------------------------------- memory

    def allocate(self, gpu: int, size: int) -> int:
        """The address of zeroed bytes on a GPU; there is at least one. May raise DoesNotFit."""
        self._use(gpu)
        size = max(size, 1)
        address = int(self._call("cuMemAlloc", size))
        self._call.later("cuMemFree", address, context=self._contexts[gpu])
        self._call("cuMemsetD8", address, 0, size)
        self.synchronise(gpu)
        return address

    def pin(self, gpu: int, size: int) -> Bytes:
        """Memory of the host that copies can go to and from while the host does something else.

        May raise DoesNotFit.
        """
        self._use(gpu)
        address = int(self._call("cuMemHostAlloc", max(size, 1), PORTABLE))
        self._call.later("cuMemFreeHost", address, context=self._contexts[gpu])
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def upload(self, target: int, source: Bytes, stream: Stream) -> None:
        """Copy from the host; from pinned memory while the host goes on."""
        self._use(stream.gpu)
        host = source.ctypes.data
        self._call("cuMemcpyHtoDAsync", target, host, source.size, stream.handle)

    def download(self, target: Bytes, source: int, stream: Stream) -> None:
        """Copy to the host; to pinned memory while the host goes on."""
        self._use(stream.gpu)
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, source, target.size, stream.handle)

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        """Copy within a GPU, or between two that share their memory."""
        self._use(stream.gpu)
        self._call("cuMemcpyDtoDAsync", target, source, size, stream.handle)

    # ------------------------------------------------------------------------- kernels

    def load(self, gpu: int, image: bytes, symbols: Sequence[str]) -> dict[str, Function]:
        """Functions of a cubin, ready on a GPU."""
        self._use(gpu)
        module = self._call("cuModuleLoadData", np.frombuffer(image, np.uint8).ctypes.data)
        self._call.later("cuModuleUnload", module, context=self._contexts[gpu])
        return {
            symbol: Function(gpu, self._call("cuModuleGetFunction", module, symbol.encode()))
            for symbol in symbols
        }

    def permit(self, function: Function, shared: int) -> None:
        """Let launches of a function ask for so many bytes of shared memory, or fewer."""
        self._use(function.gpu)
        attribute = self._call.names.CUfunction_attribute
        most = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self._call("cuFuncSetAttribute", function.handle, most, shared)

    def tensor_map(self, gpu: int, map: TensorMap, dtype: DTYPES, address: int) -> Words:
        """An array at an address, for launches on a GPU that copy boxes of it."""
        self._use(gpu)
        return encoded(self._call, map, dtype, address)

    def launch(
        self,
        function: Function,
        grid: Extents,
        block: Extents,
        arguments: Sequence[int | Words],
        stream: Stream,
        *,
        shared: int = 0,
    ) -> None:
        """Run a function on pointers and maps; `shared` bytes of a block, which must be
        permitted."""
        self._use(stream.gpu)
        values = [np.atleast_1d(np.asarray(argument, np.uint64)) for argument in arguments]
        places = np.array([value.ctypes.data for value in values], np.uint64)
        self._call(
            "cuLaunchKernel",
            function.handle,
            *grid,
            *block,
            shared,
            stream.handle,
            places.ctypes.data,
            0,
        )

    # ----------------------------------------------------------------- streams, events

    def stream(self, gpu: int) -> Stream:
        """A new stream, which waits for no other by itself."""
        self._use(gpu)
        handle = self._call("cuStreamCreate", NON_BLOCKING)
        self._call.later("cuStreamDestroy", handle, context=self._contexts[gpu])
        return Stream(gpu, handle)

    def event(self, gpu: int, *, timed: bool = False) -> Event:
        """A new event, to be recorded any number of times."""
        self._use(gpu)
        handle = self._call("cuEventCreate", 0 if timed else NO_TIMING)
        self._call.later("cuEventDestroy", handle, context=self._contexts[gpu])
        return Event(gpu, handle)

    def record(self, event: Event, stream: Stream) -> None:
        """Let an event be the moment when all before it in the stream is done."""
        self._use(stream.gpu)
        self._call("cuEventRecord", event.handle, stream.handle)

    def wait(self, stream: Stream, event: Event) -> None:
        """Let all that follows in a stream wait for an event as last recorded."""
        self._use(stream.gpu)
        self._call("cuStreamWaitEvent", stream.handle, event.handle, 0)

    def finish(self, event: Event) -> None:
        """Wait until an event has happened; at once if it was never recorded."""
        self._use(event.gpu)
        self._call("cuEventSynchronize", event.handle)

    def seconds(self, start: Event, end: Event) -> float:
        """Time between two timed events of one GPU that have happened."""
        self._use(start.gpu)
        return float(self._call("cuEventElapsedTime", start.handle, end.handle)) / 1e3

    # -------------------------------------------------------------------------- graphs

    def begin_capture(self, stream: Stream) -> None:
        """Note what follows in a stream, and in those that wait for it, instead of doing it."""
        self._use(stream.gpu)
        mode = self._call.names.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream.handle, mode)

    def end_capture(self, stream: Stream) -> Graph:
        """What was noted. The stream must have waited for all others that took part."""
        self._use(stream.gpu)
        noted = self._call("cuStreamEndCapture", stream.handle)
        handle = self._call("cuGraphInstantiate", noted, 0)
        self._call("cuGraphDestroy", noted)
        self._call.later("cuGraphExecDestroy", handle, context=self._contexts[stream.gpu])
        return Graph(handle)

    def replay(self, graph: Graph, stream: Stream) -> None:
        """Do what was noted, after what is before it in the stream."""
        self._use(stream.gpu)
        self._call("cuGraphLaunch", graph.handle, stream.handle)

    def _use(self, gpu: int) -> None:
        self._call("cuCtxSetCurrent", self._contexts[gpu])
