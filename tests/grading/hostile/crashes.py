# Reads memory that is not there.
# %% hint="ended" flag="stopped: ended"
import numpy as np


def squares(values):
    return float(np.lib.stride_tricks.as_strided(np.zeros(1), (10**9,), (8,)).sum())
