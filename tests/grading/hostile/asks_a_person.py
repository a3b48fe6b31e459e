# %% hint="raised" text="nobody is there to type"
def squares(values):
    return float(input("What is right? "))
