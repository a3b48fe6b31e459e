# Noisy, and right.
# %% right=true
import sys

import numpy as np

sys.stdout.write("x" * 50_000_000)


def squares(values):
    print("<b>x</b>" * 1_000_000)
    return float(np.sum(np.square(values)))
