# %% hint="wrong_value" hidden=true
def squares(values):
    return 14.0
