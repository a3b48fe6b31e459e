"""Does a finished run reach what the README promises? Exits with an error when it does not.

Time is reported and not judged: it belongs to the machine.
"""

import json
import sys
from pathlib import Path

from helptune.evaluate.answers import read_answers
from helptune.experiment.findings import read_findings


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
    found = read_findings(run / "eval")
    for row in found.sheet:
        print(f"{row.name}: {row.status} ({row.measured})")
    unmeasured = [row.name for row in found.sheet if row.status == "not measurable here"]
    if unmeasured != ["Preferred by people"]:
        sys.exit(f"the acceptance sheet lacks {', '.join(unmeasured)}")
    if found.problems:
        sys.exit(f"the evaluation has {len(found.problems)} problems, the first: {found.problems[0]}")
    print(f"seconds: {(run / 'eval' / 'evaluation_seconds.json').read_text()}")
    if not (run / "report.html").stat().st_size:
        sys.exit("the report is empty")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
