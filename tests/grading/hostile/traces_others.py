# A look finds ctypes; what ptrace itself gets to hear is in test_grading_seccomp.py.
# %% hint="asks_the_library"
import ctypes


def squares(values):
    return float(ctypes.CDLL(None).ptrace(16, 1, 0, 0))
