"""What was measured, as JSON: a file for each processor by LLVM's name and the sizes of its caches.

The files in `shipped/` come with the program, the user's own lie in the folder of compiled kernels
and go before them.
"""

from dataclasses import replace
from pathlib import Path

import msgspec

from codegen.cache import default_folder
from codegen.targets import Cpu, caches_of
from codegen.tuning.parameters import KB, Tuning
from ir.command import Error
from ir.plan import Record, Speeds, write_whole

SHIPPED = Path(__file__).parent / "shipped"


class Records(Record, frozen=True):
    """Speeds of a machine, and the best sizes by class of shapes."""

    speeds: Speeds | None = None
    tunings: dict[str, Tuning] = msgspec.field(default_factory=dict)

    def __or__(self, other: "Records") -> "Records":
        """Both; the other's go first."""
        return Records(other.speeds or self.speeds, self.tunings | other.tunings)


def load(target: Cpu, folder: Path | None) -> Records:
    """All that is known of a processor. Raises Error for a damaged file."""
    folders = [SHIPPED, folder] if folder else [SHIPPED]
    known = Records()
    for each in folders:
        known |= read(each / file_name(target))
    return known


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
    """Write a file, one class of shapes per line. Raises Error."""
    text = msgspec.json.format(msgspec.json.encode(records, order="sorted"), indent=1)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, [text + b"\n"])
    except OSError as error:
        raise Error(f"{path}: cannot be written: {error.strerror}") from error


def file_name(target: Cpu) -> str:
    """Such as `icelake-server-48-1280-49152.json`: caches in KB."""
    caches = caches_of(target.mcpu)
    sizes = (caches.first, caches.second, caches.shared)
    return "-".join([target.mcpu, *(str(size // KB) for size in sizes)]) + ".json"


def measured(target: Cpu) -> tuple[Cpu, Speeds | None]:
    """The target with the sizes that were measured for it, and its speeds. Raises Error."""
    known = load(target, default_folder())
    return applied(target, known), known.speeds


def applied(target: Cpu, records: Records) -> Cpu:
    """A target that chooses measured sizes where there are some."""
    return replace(target, measured=tuple(sorted(records.tunings.items())))
