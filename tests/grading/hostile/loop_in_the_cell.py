# %% hint="too_slow" flag="stopped: too_slow"
while True:
    pass
