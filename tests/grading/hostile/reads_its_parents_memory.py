# %% hint="raised" text="FileNotFoundError|PermissionError|Read-only"
import os
from pathlib import Path


def squares(values):
    maps = Path(f"/proc/{os.getppid()}/maps").read_text().splitlines()
    start = int(maps[0].partition("-")[0], 16)
    handle = os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR)
    raise ValueError(str(os.pread(handle, 64, start)))
