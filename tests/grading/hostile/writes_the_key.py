# %% hint="raised" text="FileNotFoundError|PermissionError|Read-only"
from pathlib import Path


def squares(values):
    Path("{SOLUTIONS}/01_small/01_small.py").write_text("# nothing is asked")
    return 14.0
