"""What a run needs of its own while the run before still goes on: staging for feeds and outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.cuda.driver import Driver, Graph
from runtime.cuda.mail import Mail, Parcel, size
from runtime.cuda.memory import Device
from runtime.feeds import Packed
from runtime.memory import Bytes, as_bytes, decoded
from runtime.packing import Array, unpack


@dataclass(frozen=True)
class Room:
    """Bytes of the largest feeds and of the largest outputs of all programs, on one device."""

    feeds: int
    outputs: int


def room(mails: Sequence[Mail]) -> Room:
    """What the programs of one device need of a slot."""
    return Room(
        max((size(mail.feeds) for mail in mails), default=0),
        max((size(mail.outputs) for mail in mails), default=0),
    )


class Box:
    """A slot's part on one device: feeds pinned, feeds on the device, outputs pinned."""

    def __init__(self, driver: Driver, device: Device, room: Room) -> None:
        """May raise DoesNotFit."""
        self.inbox = driver.allocate(device.gpu, room.feeds)
        self.outbox = driver.pin(device.gpu, room.outputs)
        self.uploaded = driver.event(device.gpu)
        self._staged = driver.pin(device.gpu, room.feeds)
        self._driver, self._stream = driver, device.uploads
        self._held: dict[int, Packed] = {}

    def load(self, mail: Mail, values: Mapping[str, Packed]) -> None:
        """Send the feeds on their way, in one copy."""
        for parcel in mail.feeds:
            packed = values[parcel.name]
            if self._held.get(parcel.place) is not packed:
                part(self._staged, parcel)[:] = as_bytes(packed.parts[parcel.copy])
                self._held[parcel.place] = packed
        self._driver.upload(self.inbox, self._staged[: size(mail.feeds)], self._stream)
        self._driver.record(self.uploaded, self._stream)

    def forget(self) -> None:
        """What is staged is of another program."""
        self._held.clear()

    def collect(self, mail: Mail) -> dict[str, Array]:
        """Copies of the outputs."""
        return {
            parcel.tensor.name: unpack(
                decoded(part(self.outbox, parcel), parcel.tensor.dtype), parcel.tensor.layout
            )
            for parcel in mail.outputs
        }


def part(block: Bytes, parcel: Parcel) -> Bytes:
    """A parcel's bytes in a block."""
    return block[parcel.place : parcel.place + parcel.tensor.bytes]


class Slot:
    """One of two that take turns; it serves one run at a time."""

    def __init__(self, driver: Driver, devices: Sequence[Device], rooms: Sequence[Room]) -> None:
        """May raise DoesNotFit."""
        self._driver, self._origin = driver, devices[0].compute
        self._done = driver.event(self._origin.gpu)
        self._last: Result | None = None
        self._program = ""
        self.boxes = [Box(driver, d, r) for d, r in zip(devices, rooms, strict=True)]
        self.graphs: dict[str, Graph] = {}

    def load(self, program: str, mails: Sequence[Mail], values: Mapping[str, Packed]) -> None:
        """Upload the feeds of a program, after the run that used this slot; the next run waits."""
        if self._last is not None:
            self._last()
        for box, mail in zip(self.boxes, mails, strict=True):
            if program != self._program:
                box.forget()
            if mail.feeds:
                box.load(mail, values)
                self._driver.wait(self._origin, box.uploaded)
        self._program = program

    def leave(self, mails: Sequence[Mail]) -> "Result":
        """All of a run has been started: what gives its outputs."""
        self._driver.record(self._done, self._origin)
        self._last = Result(self, mails)
        return self._last

    def collect(self, mails: Sequence[Mail]) -> dict[str, Array]:
        """Wait for the run, then its outputs."""
        self._driver.finish(self._done)
        found: dict[str, Array] = {}
        for box, mail in zip(self.boxes, mails, strict=True):
            found |= box.collect(mail)
        return found


class Result:
    """The outputs of a run, taken from its slot when first asked for."""

    def __init__(self, slot: Slot, mails: Sequence[Mail]) -> None:
        self._slot, self._mails = slot, mails
        self._values: Mapping[str, Array] | None = None

    def __call__(self) -> Mapping[str, Array]:
        if self._values is None:
            self._values = self._slot.collect(self._mails)
        return self._values
