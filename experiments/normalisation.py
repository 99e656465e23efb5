"""Local response normalisation against none: `python -m experiments.normalisation`.

Paper, section 3.3: normalisation lowers the top-1 and top-5 errors by 1.4 and 1.2 points. The notes
that came with the 2012 program have 40.7 and 18.2 % against 42.0 and 19.4 %, with ten views of
ILSVRC-2012's validation images.

Real data: two networks, each five to six days on the paper's two GPUs; ten views, as in the notes:

    python -m experiments.normalisation --data STORE --preset code145 --views 10 \\
        -- --recipe code145-2012

Here: minutes on two cores, too small to show what the paper saw:

    python -m experiments.normalisation --preset code145 --width 0.25 --image 112 --classes 10 \\
        --batch 32 --epochs 8 --seeds 2 -- --lr 0.01
"""

from experiments.ablation import Ablation, Side, compare
from ir.command import run

ABLATION = Ablation(
    feature="normalisation",
    one=Side("with"),
    other=Side("without", {"lrn": False}),
    top1=1.4,
    top5=1.2,
)


def main() -> None:
    """Compare the network with response normalisation with the same one without."""
    compare(ABLATION, main.__doc__)


if __name__ == "__main__":
    run(main)
