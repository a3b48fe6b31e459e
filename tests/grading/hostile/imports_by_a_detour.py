# %% hint="asks_the_library" flag="asks the library"
def squares(values):
    return __import__("help" + "tune").right(values)
