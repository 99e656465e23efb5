"""The plan: all that compiler and runtime share. Plain records, no graph.

`plan.json` names kernels (files beside it, in `plan/`), one arena per logical device with every
value at a fixed offset, and for each program one total order of steps. `records` says what is in
it, `laws` what must hold; `read` refuses a file that breaks one.
"""

from ir.plan.file import check, encode, folder, one_line, read, write, write_whole
from ir.plan.records import (
    ALIGNMENT,
    DTYPES,
    ITEM_BYTES,
    VERSION,
    Argument,
    Cubin,
    Cubins,
    Device,
    Feed,
    Fill,
    Kernel,
    Launch,
    Layout,
    Library,
    Move,
    Plan,
    Program,
    Record,
    Run,
    Speeds,
    State,
    Tensor,
    TensorMap,
    Work,
)

__all__ = [
    "ALIGNMENT",
    "DTYPES",
    "ITEM_BYTES",
    "VERSION",
    "Argument",
    "Cubin",
    "Cubins",
    "Device",
    "Feed",
    "Fill",
    "Kernel",
    "Launch",
    "Layout",
    "Library",
    "Move",
    "Plan",
    "Program",
    "Record",
    "Run",
    "Speeds",
    "State",
    "Tensor",
    "TensorMap",
    "Work",
    "check",
    "encode",
    "folder",
    "one_line",
    "read",
    "write",
    "write_whole",
]
