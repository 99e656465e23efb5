"""A small AlexNet built for GPUs once per session, to be run without one."""

from functools import lru_cache
from pathlib import Path

from codegen.cuda import emulator, toolchain
from ir.command import Error
from tests.built import built, finished
from tests.plans import new_folder

ARCH = "sm_90a"
TWO = "cuda:0,cuda:1"


def why_not() -> str:
    """What is missing here to build for GPUs and to run their sources, if anything."""
    try:
        toolchain.find()
    except Error as error:
        return str(error)
    return "" if emulator.available() else "no C++ compiler to run CUDA C with"


@lru_cache(maxsize=1)
def built_for_gpus() -> Path:
    """The folder of the plan: the same network as in the tests of the system, for two GPUs."""
    folder, text = new_folder(), (built() / "network.ir").read_text()
    # Minimal filtering takes a compiler of the host longer than all the rest.
    command = ("codegen.build", "--devices", TWO, "--arch", ARCH, "--exact")
    finished(*command, given=text, cwd=folder)
    return folder
