# %% hint="too_slow" flag="stopped: too_slow"
import signal
import time

for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass


def squares(values):
    while True:
        time.sleep(1)
