# %% hint="raised" text="FileNotFoundError|PermissionError|Read-only"
import numpy as np


def squares(values):
    raise ValueError(np.fromfile("{EXTRA}/01_small.py", dtype="u1").tobytes().decode())
