# %% hint="too_slow" flag="stopped: too_slow"
def squares(values):
    while True:
        pass
