"""The colours of a drawing."""

from dataclasses import dataclass

from ir.drawing.grouping import Role


@dataclass(frozen=True)
class Paint:
    """Colours of one kind of node."""

    fill: str
    stroke: str


PAINTS = {
    None: Paint("#f3f3f3", "#8a8a8a"),
    Role.FORWARD: Paint("#deebf7", "#3a6ea5"),
    Role.BACKWARD: Paint("#fde5d2", "#c0651e"),
    Role.UPDATE: Paint("#dff0d8", "#4a8b42"),
}
"""By role; leaves have none."""

TRANSFER, QUIET, GROUND = "#a3195b", "#7a7a7a", "#fafafa"
"""Transfers; what should not catch the eye; what a device's boxes stand on."""
