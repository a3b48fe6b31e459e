"""What a report on a judge says, in sentences: for a terminal, a page or a card."""

from helptune.data.agreement.coefficients import Agreement
from helptune.evaluate.judging.report import JudgeReport
from helptune.evaluate.statistics.estimate import Estimate
from helptune.text import printable

MACHINE = "These are votes of a machine: they are not counted as anybody's preference."


def sentences(report: JudgeReport) -> list[str]:
    """Every figure with its interval and what it was counted from, and what could not be counted."""
    if not report.votes:
        return [f"No machine votes on {report.a} and {report.b}."]
    said = [
        f"{report.judge} judged {report.items} pairs of {report.a} and {report.b} in {report.votes} votes. {MACHINE}",
        *_failures(report),
        f"{report.b} scores {share(report.score)} against {report.a}, where a tie and a contradiction count half.",
        f"The order decides {share(report.flips)} of the pairs that were judged in both orders.",
        f"The answer shown first wins {share(report.first_wins)} of the votes; without a favourite place it is half.",
    ]
    if report.to_first.n:
        said.append(f"Where the two orders name two winners, it is the place shown first in {share(report.to_first)}.")
    return [printable(one) for one in [*said, *_humans(report), *_self_preference(report)]]


def share(estimate: Estimate) -> str:
    """An estimate of a share in percent with its interval."""
    if estimate.value is None:
        return f"an unknown share ({estimate.why})"
    ends = ""
    if estimate.low is not None and estimate.high is not None:
        ends = f"{estimate.low:.0%} to {estimate.high:.0%}, "
    return f"{estimate.value:.0%} ({ends}n = {estimate.n})"


def _failures(report: JudgeReport) -> list[str]:
    said = []
    if report.failures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(report.failures.items()))
        said.append(f"{sum(report.failures.values())} of the votes are null ({kinds}); they count as missing.")
    if report.one_sided or report.unjudged:
        said.append(
            f"{report.one_sided} pairs have a vote in one order only, {report.unjudged} have none: of these it is not "
            "known whether the judge contradicts itself."
        )
    return said


def _humans(report: JudgeReport) -> list[str]:
    if report.humans is None:
        return ["No votes of people on these pairs: whether the judge sees what they see is not known."]
    found = report.humans
    said = [
        f"With people it agrees on {share(found.same)} of the pairs, and on {share(found.same_winner)} of those on "
        f"which neither sees a tie; kappa is {_kappa(found.kappa)}."
    ]
    if found.same.missing:
        said.append(f"{found.same.missing} pairs that people judged have no judgement of the machine.")
    return said


def _kappa(kappa: Agreement) -> str:
    if kappa.value is None:
        return f"undefined ({kappa.undefined})"
    if kappa.low is None or kappa.high is None:
        return f"{kappa.value:.2f} ({kappa.undefined})"
    return f"{kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})"


def _self_preference(report: JudgeReport) -> list[str]:
    if not report.own:
        return []
    if report.self_preference is None:
        return [
            f"The judge is {report.own} itself. Without votes of people on the same pairs, favouring its own answers "
            "cannot be told from their being better."
        ]
    difference = report.self_preference.difference
    if difference.value is None:
        return [f"The judge is {report.own} itself; by how much it favours its own answers: {difference.why}."]
    ends = ""
    if difference.low is not None and difference.high is not None:
        ends = f" ({100 * difference.low:+.0f} to {100 * difference.high:+.0f}, n = {difference.n})"
    return [
        f"The judge is {report.own} itself, and scores its own answers {100 * difference.value:+.0f} points{ends} "
        "against people on the same pairs."
    ]
