# %% hint="raised" text="=HYPERLINK"
def squares(values):
    raise ValueError('=HYPERLINK("http://example.org")')
