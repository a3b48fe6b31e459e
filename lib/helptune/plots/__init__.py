"""Every picture of the course and of the report. A function takes a matplotlib Axes, draws on it and returns it."""

from helptune.plots.agreement import agreement_before_after
from helptune.plots.comparison import effects
from helptune.plots.failures import failure_changes, failure_shares
from helptune.plots.gradients import cosine_matrix, effective_ranks, gradient_norms, noise_scales, update_ratios
from helptune.plots.packing import packed_rows, who_sees_whom
from helptune.plots.preference import by_place, strength_scale, win_rates
from helptune.plots.runs import answers_ended, category_losses, loss_curve, schedules, throughput, trace
from helptune.plots.style import blank, to_svg
from helptune.plots.tokens import shift_by_one, token_boxes

__all__ = [
    "agreement_before_after",
    "answers_ended",
    "blank",
    "by_place",
    "category_losses",
    "cosine_matrix",
    "effective_ranks",
    "effects",
    "failure_changes",
    "failure_shares",
    "gradient_norms",
    "loss_curve",
    "noise_scales",
    "packed_rows",
    "schedules",
    "shift_by_one",
    "strength_scale",
    "throughput",
    "to_svg",
    "token_boxes",
    "trace",
    "update_ratios",
    "who_sees_whom",
    "win_rates",
]
