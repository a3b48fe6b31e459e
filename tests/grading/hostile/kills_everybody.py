# %% hint="raised" text="PermissionError"
import os
import signal


def squares(values):
    os.kill(-1, signal.SIGKILL)
    return 14.0
