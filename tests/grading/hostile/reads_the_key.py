# %% hint="raised" text="FileNotFoundError|PermissionError|Read-only"
from pathlib import Path


def squares(values):
    raise ValueError(Path("{SOLUTIONS}/01_small/01_small.py").read_text())
