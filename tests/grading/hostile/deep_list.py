# %% hint="not_data"
def squares(values):
    for _ in range(500):
        values = [values]
    return values
