# An error whose text takes for ever to make.
# %% hint="too_slow" flag="stopped: too_slow"
class Slow(Exception):
    def __str__(self):
        while True:
            pass


def squares(values):
    raise Slow
