"""Several tests, one chance of a false alarm: of twenty metrics that did not change, one is significant at 5%.

Holm (1979) multiplies the smallest p by the number of tests, the next by one fewer, and so on. It keeps the chance of
any false alarm at its level however the tests hang together, and is never weaker than Bonferroni.
"""

import math
from collections.abc import Mapping

from helptune.errors import SettingError


def holm(p: Mapping[str, float | None]) -> dict[str, float | None]:
    """Adjusted p of each test of a family, in the order given; None, for a test that could not be made, stays None.

    A test without a p made no claim, so it is not counted. Written out here because statsmodels' `multipletests`, to
    which it is equal, collects garbage at each call: a tenth of a second and more.
    Raises SettingError for a p outside 0 to 1.
    """
    made = {name: value for name, value in p.items() if value is not None}
    for name, value in made.items():
        if math.isnan(value) or not 0 <= value <= 1:
            raise SettingError(f"p of {name!r} must lie between 0 and 1, found {value}")
    adjusted, so_far = dict[str, float](), 0.0
    for rank, name in enumerate(sorted(made, key=made.__getitem__)):
        so_far = min(1.0, max(so_far, (len(made) - rank) * made[name]))
        adjusted[name] = so_far
    return {name: adjusted.get(name) for name in p}
