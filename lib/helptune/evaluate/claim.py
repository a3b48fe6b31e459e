"""From a win rate to a sentence: was the claim met that one model is preferred in more than, say, 75% of judgements?

It is met where the one-sided 95% lower bound lies above the share claimed, with everything that is missing counted
against it, and not met where the upper bound does not. Between the two the votes do not tell, and the sentence says how
many more would. Beside it stand the cautions: whatever else than the answers' quality could have made the rate.
"""

import math
from dataclasses import dataclass
from typing import Literal

from helptune.errors import SettingError
from helptune.evaluate.preference import Preference
from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.power import trials_above

State = Literal["met", "not met", "inconclusive", "not measurable"]
ABOVE = 0.75
"""The share that stage 2 is to reach."""
_CLOSE = 0.005
"""Nearer to the share claimed than this, more than 40,000 votes would be needed: no number is given."""
_BALANCED = 0.35, 0.65
"""Shares of votes in which a was shown first that count as balanced."""
_WHOSE = {"human": "people", "machine": "machine judges"}


@dataclass(frozen=True)
class Claim:
    """`more` judgements would be expected to decide it with 80% power, were the rate that was seen the true one."""

    above: float
    state: State
    words: str
    more: int | None = None


def claim(found: Preference, above: float = ABOVE) -> Claim:
    """Whether `a` is preferred over `b` in more than `above` of judgements. Raises SettingError if that is no share."""
    if not 0 < above < 1:
        raise SettingError(f"above = {above} must lie between 0 and 1, as .75 does")
    what = f"{found.a} preferred over {found.b} in more than {above:.0%} of judgements by {_WHOSE[found.kind]}"
    rate = found.win_rate
    if rate.value is None or found.lower is None or found.upper is None:
        return Claim(above, "not measurable", f"{what}: not measurable, since there are no {found.kind} votes on them")
    seen = f"{_percent(rate.value)} of {found.judged} judgements of {rate.clusters} prompts"
    if found.missing or found.one_sided:
        seen += f"; {found.missing} missing and {found.one_sided} one-sided ones counted against the claim"
    if found.lower > above:
        return Claim(above, "met", f"{what}: met. Lower bound {_percent(found.lower)} ({seen})")
    if found.upper <= above:
        return Claim(above, "not met", f"{what}: not met. Upper bound {_percent(found.upper)} ({seen})")
    more = _more(found, above)
    bounds = f"{_percent(found.lower)} to {_percent(found.upper)}"
    return Claim(above, "inconclusive", f"{what}: inconclusive, {bounds} ({seen}). {_wanted(found, more)}", more)


def _more(found: Preference, above: float) -> int | None:
    """None where the rate is too close to `above`, or where only what is missing stands between."""
    rate, effect = found.win_rate.value or 0.0, max(1.0, found.design_effect or found.judged / found.win_rate.clusters)
    if abs(rate - above) < _CLOSE:
        return None
    needed = trials_above(above, rate) if rate > above else trials_above(1 - above, 1 - rate)
    more = math.ceil((needed or 0) * effect) - found.judged
    if more < 1 and (found.missing or found.one_sided):
        return None
    return max(1, more)


def _wanted(found: Preference, more: int | None) -> str:
    rate = _percent(found.win_rate.value or 0.0)
    if more is not None:
        whole = " and none is missing" if found.missing or found.one_sided else ""
        return f"About {_rounded(more):,} more judgements would tell, if {rate} is the true rate{whole}"
    if found.missing or found.one_sided:
        return "What is missing or one-sided stands between: have it voted on in full"
    return f"{rate} is so close to the share claimed that no sensible number of votes would tell"


def cautions(found: Preference) -> list[str]:
    """Whatever but the quality of the answers could have made this win rate, a sentence each."""
    a, b, said = found.a, found.b, []
    if found.kind == "machine" and found.judged:
        said.append("These are votes of machines, not of people.")
    if found.missing:
        said.append(f"{found.missing} judgements are missing ({found.judged} were given).")
    if found.one_sided:
        said.append(f"{found.one_sided} judgements of a machine were given in one order only.")
    first, second = found.when_first.n, found.when_second.n
    if first + second and not _BALANCED[0] <= first / (first + second) <= _BALANCED[1]:
        said.append(
            f"{a} was shown first in {first} of {first + second} votes, so its place may have made the rate: "
            f"it won {_in_words(found.when_first)} shown first, {_in_words(found.when_second)} second."
        )
    if _off_half(found.first_wins):
        said.append(f"The answer shown first won {_in_words(found.first_wins)}: the place matters to these raters.")
    if _off_half(found.longer_wins):
        said.append(f"The longer answer won {_in_words(found.longer_wins)}: length and preference go together.")
    if found.length_controlled.value is not None:
        said.append(f"At equal length {a} would win {_in_words(found.length_controlled)}.")
    elif found.longer_wins.value is not None:
        said.append(f"Nothing is said of equal length: {found.length_controlled.why}.")
    if found.same.value is not None:
        said.append(f"Two raters of the same prompt said the same {_in_words(found.same)}.")
    if found.p_items is not None and found.p_items > 0.05:
        said.append(f"That {a} and {b} are equally liked is not ruled out (p = {found.p_items:.2g}, a vote a prompt).")
    return said


def _off_half(rate: Estimate) -> bool:
    return rate.low is not None and rate.high is not None and not rate.low <= 0.5 <= rate.high


def _in_words(rate: Estimate) -> str:
    """`61.2% [55.0%, 67.1%]`; without an interval the figure alone."""
    if rate.value is None:
        return f"an unknown share ({rate.why})"
    if rate.low is None or rate.high is None:
        return _percent(rate.value)
    return f"{_percent(rate.value)} [{_percent(rate.low)}, {_percent(rate.high)}]"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _rounded(count: int) -> int:
    """To two digits: a plan is no more exact than that."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return math.ceil(count / unit) * unit
