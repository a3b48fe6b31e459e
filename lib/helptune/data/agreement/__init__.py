"""Do people who rate the same answers agree? Rating files, measures of agreement, and the gate they must pass."""
