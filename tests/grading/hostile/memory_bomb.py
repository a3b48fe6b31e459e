# %% hint=["too_much_memory", "raised"]
def squares(values):
    held = []
    while True:
        held.append(bytearray(b"x" * 20_000_000))
