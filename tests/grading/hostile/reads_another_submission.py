# %% hint="raised" text="FileNotFoundError|PermissionError|Read-only"
from pathlib import Path


def squares(values):
    raise ValueError(Path("{SUBMISSIONS}/honest_first/01_small/01_small.ipynb").read_text())
