"""What it takes to claim something, as one table: `helptune evaluate power`.

The claims are those of stage 2: preferred by more than 75%, a capability that is kept, scores that rise, answers that
are consistent. What is assumed of the truth stands beside each number, because the number is worth no more than that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helptune.errors import SettingError
from helptune.evaluate.statistics.power import (
    margin_shown,
    pairs_for_difference,
    pairs_for_noninferiority,
    trials_above,
)

if TYPE_CHECKING:
    from rich.console import Console

GROUPS = "groups of paraphrases"


@dataclass(frozen=True)
class Need:
    """`needed` of `unit` show `claim` where the truth is as assumed; None where no number would."""

    claim: str
    assumed: str
    needed: int | None
    unit: str
    test: str


def plan(
    *,
    preferred: float = 0.75,
    win_rates: Sequence[float] = (0.8, 0.85, 0.9),
    margin: float = 0.05,
    discordance: float = 0.15,
    score: float = 0.35,
    effects: Sequence[float] = (0.2, 0.5),
    consistent: float = 0.9,
    agreements: Sequence[float] = (0.93, 0.95, 0.97),
    items: int | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    design_effect: float = 1.0,
) -> list[Need]:
    """Each claim under each assumption: true win rates, discordance and score of the base, d_z, true agreements.

    `margin` is taken twice, as points and as a share of `score`. Votes and answers are multiplied by `design_effect`,
    which is 1 for one of a prompt. With `items`, the last row says what so many can rule out. Raises SettingError for a
    value out of range.
    """
    if design_effect < 1 or not 0 < score <= 1:
        raise SettingError(f"{design_effect=} must be 1 or more, and {score=} above 0 and at most 1")
    at = {"alpha": alpha, "power": power}
    reach = f"{_percent(1 - alpha)} one-sided"
    rows = [
        (
            f"preferred by more than {_percent(preferred)}",
            f"{_percent(true)} prefer it",
            trials_above(preferred, true, **at),
            "decisive votes",
            f"{reach} exact lower bound",
        )
        for true in win_rates
    ]
    rows += [
        (
            f"loses less than {lost}",
            f"loses nothing, models differ on {_percent(discordance)} of items",
            pairs_for_noninferiority(to_lose, discordance, **at),
            "answers",
            f"{reach} paired non-inferiority",
        )
        for lost, to_lose in (
            (f"{100 * margin:g} points", margin),
            (f"{_percent(margin)} of a score of {score:g}", margin * score),
        )
    ]
    rows += [
        (
            "scores differ",
            f"by {effect:g} standard deviations of the paired differences",
            pairs_for_difference(effect, 1, **at),
            "answers",
            f"{_percent(1 - alpha)} two-sided paired t",
        )
        for effect in effects
    ]
    rows += [
        (
            f"agrees in more than {_percent(consistent)}",
            f"{_percent(true)} agree",
            trials_above(consistent, true, **at),
            GROUPS,
            f"{reach} exact lower bound",
        )
        for true in agreements
    ]
    needs = [
        Need(claim, assumed, None if n is None else _ceil(n * (1 if unit == GROUPS else design_effect)), unit, test)
        for claim, assumed, n, unit, test in rows
    ]
    if items is not None:
        shown = margin_shown(items, discordance * design_effect, **at)
        needs.append(
            Need(
                f"loses less than {100 * shown:.1f} points",
                f"loses nothing, models differ on {_percent(discordance)} of items",
                items,
                "answers, as planned",
                f"{reach} paired non-inferiority",
            )
        )
    return needs


def show(needs: Sequence[Need], console: "Console") -> None:
    from rich.table import Table

    table = Table("claim", "if in truth", "needed", "of", "by")
    table.columns[2].justify = "right"
    for need in needs:
        number = "no number" if need.needed is None else f"{need.needed:,}"
        table.add_row(need.claim, need.assumed, number, need.unit, need.test)
    console.print(table)


def _ceil(number: float) -> int:
    """Up to a whole number, where 1.1 x 10 is 11 and no rounding error above it."""
    return -int(-round(number, 6) // 1)


def _percent(share: float) -> str:
    return f"{100 * share:g}%"
