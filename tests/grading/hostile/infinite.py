# %% hint="wrong_value"
def squares(values):
    return float("inf")
