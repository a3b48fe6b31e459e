# Catches whatever could end it, and goes on.
# %% hint="too_slow" flag="stopped: too_slow"
def squares(values):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
