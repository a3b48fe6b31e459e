# %% hint="not_data"
def squares(values):
    yield 14.0
