# %% hint="raised" text="Operation not permitted"
import subprocess


def squares(values):
    subprocess.run(["/bin/sh", "-c", "sleep 1000 &"])
    return 14.0
