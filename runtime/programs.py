"""What a plan must have to be trained: its programs, what they are fed and what they measure."""

from ir.command import Error
from ir.plan import Plan
from runtime.data.batches import SUPPLIED
from runtime.measures import MEASURES

SCALARS = ("seed", "step", "keep", "momentum", "decay")
EVALUATE = "evaluate"
ACCUMULATE = "accumulate"
APPLY = "apply"


def data_program(plan: Plan) -> str:
    """The program that takes a training batch. Raises Error for a plan that cannot train."""
    for name in (ACCUMULATE, "train"):
        if name in plan.programs:
            return name
    raise Error(f"the plan cannot train: its programs are {', '.join(plan.programs) or 'none'}")


def check(plan: Plan) -> None:
    """Raises Error for a plan with a feed that nothing here supplies, or without a measure."""
    known = {*SUPPLIED, *SCALARS, *(f"{name}.rate" for name in rates(plan))}
    for name, program in plan.programs.items():
        for feed in program.feeds:
            if feed.logical not in known:
                expected = ", ".join((*SUPPLIED, *SCALARS, "<parameter>.rate"))
                raise Error(f"program {name}: unknown feed '{feed.logical}'; expected {expected}")
    for name in {data_program(plan), EVALUATE} & plan.programs.keys():
        missing = {*MEASURES} - {output.name for output in plan.programs[name].outputs}
        if missing:
            raise Error(f"program {name}: expected the outputs {', '.join(sorted(missing))}")


def rates(plan: Plan) -> dict[str, float]:
    """By parameter: what the plan multiplies the rate by in its feed `<parameter>.rate`."""
    return {state.logical: state.rate for state in plan.states if state.kind == "param"}
