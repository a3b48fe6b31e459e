# %% hint=["not_data", "too_much_memory"]
import numpy as np


def squares(values):
    return np.zeros(10**9)
