"""Does a finished run reach what the README promises? Exits with an error when it does not.

Time is reported and not judged: it belongs to the machine.
"""

import json
import sys
from pathlib import Path

from helptune.evaluate.answers import read_answers


def main(run: Path) -> None:
    summary = json.loads((run / "eval" / "summary.json").read_text())
    base, tuned = (summary["heldout_loss"][name]["overall"] for name in ("base", "tuned"))
    answers = read_answers(run / "eval" / "tuned.jsonl")
    ended = sum(answer.ended for answer in answers) / len(answers)
    print(
        f"held-out loss {base:.3f} -> {tuned:.3f} ({tuned / base - 1:+.1%}), {ended:.1%} of answers end by themselves"
    )
    print(f"seconds: {json.dumps({name: round(s) for name, s in summary['seconds'].items()})}")
    if tuned > 0.75 * base:
        sys.exit("held-out loss fell by less than 25%")
    if ended < 0.9:
        sys.exit("less than 90% of the answers end by themselves")
    if not (run / "report.html").stat().st_size:
        sys.exit("the report is empty")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
