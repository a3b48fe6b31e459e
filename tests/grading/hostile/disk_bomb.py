# %% hint="raised" text="File too large|No space left"
import os


def squares(values):
    for number in range(100):
        handle = os.open(f"{os.environ['HOME']}/{number}", os.O_CREAT | os.O_WRONLY)
        for _ in range(10_000):
            os.write(handle, b"x" * 2**20)
