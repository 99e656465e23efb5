"""Pooling windows that overlap against such that do not: `python -m experiments.pooling`.

Paper, section 3.4: windows of 3x3 at every second pixel instead of 2x2 lower the top-1 and top-5
errors by 0.4 and 0.3 points, and the network overfits a little less. The notes that came with the
2012 program have 40.7 and 18.2 % against 41.1 and 18.5 %, with ten views of ILSVRC-2012's
validation images. Without overlap, conv2 and conv5 are padded less, so that 6x6 pixels remain.

Real data: two networks, each five to six days on the paper's two GPUs; ten views, as in the notes:

    python -m experiments.pooling --data STORE --preset code145 --views 10 \\
        -- --recipe code145-2012

Here: minutes on two cores, too small to show what the paper saw:

    python -m experiments.pooling --preset code145 --width 0.25 --image 112 --classes 10 \\
        --batch 32 --epochs 8 --seeds 2 -- --lr 0.01
"""

from experiments.ablation import Ablation, Side, compare
from ir.command import run

ABLATION = Ablation(
    feature="pooling",
    one=Side("overlapping", {"pool": "3/2"}),
    other=Side("apart", {"pool": "2/2"}),
    top1=0.4,
    top5=0.3,
)


def main() -> None:
    """Compare windows of 3 pixels at every second one with windows of 2."""
    compare(ABLATION, main.__doc__)


if __name__ == "__main__":
    run(main)
