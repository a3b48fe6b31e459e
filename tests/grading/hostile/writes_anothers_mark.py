# %% hint="raised" text="FileNotFoundError|PermissionError|Read-only"
from pathlib import Path


def squares(values):
    Path("{OUT}/marks.csv").write_text("hostile,01_small,squares,152,3")
    return 14.0
