# %% hint=["not_data", "too_much_memory"]
def squares(values):
    return [0.0] * 8_000_000
