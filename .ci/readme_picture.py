"""The README's picture, from the files of a run: python .ci/readme_picture.py runs/first course/first_run.png"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from helptune import plots
from helptune.experiment.evidence import read_evidence


def main(run: Path, picture: Path) -> None:
    evidence = read_evidence(run)
    before, after = (evidence.summary["heldout_loss"][name]["by_category"] for name in ("base", "tuned"))
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.loss_curve(left, evidence.records)
    plots.category_losses(right, before, after)
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
