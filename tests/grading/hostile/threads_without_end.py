# Its answer is right; its threads go with its process.
# %% right=true
import threading
import time

import numpy as np


def spin():
    while True:
        time.sleep(0.001)


for _ in range(20):
    threading.Thread(target=spin, daemon=False).start()


def squares(values):
    return float(np.sum(np.square(values)))
