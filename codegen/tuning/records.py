"""What was measured, as JSON: a file for each machine, by the name that targets give it.

A CPU's is LLVM's name and the sizes of its caches, a GPU's its architecture. The files in
`shipped/` come with the program, the user's own lie in the folder of compiled kernels and go before
them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from codegen.cache import default_folder
from codegen.tuning.parameters import Shape, Tuning
from ir.command import Error
from ir.plan import Record, Speeds, write_whole

if TYPE_CHECKING:
    # It imports the compiler, which takes a second.
    from codegen.targets import Target

AnyTarget = TypeVar("AnyTarget", bound="Target")
SHIPPED = Path(__file__).parent / "shipped"


class Records(Record, frozen=True, omit_defaults=True):
    """Speeds of a machine, and the best sizes or tiles by class of regions."""

    speeds: Speeds | None = None
    tunings: dict[str, Tuning] = msgspec.field(default_factory=dict)
    tiles: dict[str, Shape] = msgspec.field(default_factory=dict)

    def __or__(self, other: "Records") -> "Records":
        """Both; the other's go first."""
        return Records(
            other.speeds or self.speeds, self.tunings | other.tunings, self.tiles | other.tiles
        )


def load(machine: str, folder: Path) -> Records:
    """All that is known of a machine. Raises Error for a damaged file."""
    return read(file_of(SHIPPED, machine)) | read(file_of(folder, machine))


def file_of(folder: Path, machine: str) -> Path:
    """Where a machine's file is."""
    return folder / f"{machine}.json"


def read(path: Path) -> Records:
    """One file; nothing where there is none. Raises Error."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Records)
    except FileNotFoundError:
        return Records()
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise Error(
            f"{path}: is no record of sizes: {error}; expected it whole, or gone"
        ) from error


def keep(path: Path, records: Records) -> None:
    """Write a file, one class of regions per line. Raises Error."""
    text = msgspec.json.format(msgspec.json.encode(records, order="sorted"), indent=1)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, [text + b"\n"])
    except OSError as error:
        raise Error(f"{path}: cannot be written: {error.strerror}") from error


def measured(target: AnyTarget) -> tuple[AnyTarget, Speeds | None]:
    """The target with the sizes that were measured for its machines, and the speeds of the first
    one that has any. Raises Error."""
    known = {machine: load(machine, default_folder()) for machine in target.machines}
    speeds = next((each.speeds for each in known.values() if each.speeds), None)
    return target.knowing(known), speeds
