# %% hint=["raised", "ended", "too_much_memory", "too_slow"]
import sys

sys.setrecursionlimit(10**9)


def squares(values):
    return squares([values])
