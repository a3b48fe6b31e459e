# %% hint="raised" text="FileNotFoundError|PermissionError|Read-only"
from pathlib import Path


def squares(values):
    Path("{SUBMISSIONS}/honest_last/01_small/01_small.ipynb").unlink()
    return 14.0
