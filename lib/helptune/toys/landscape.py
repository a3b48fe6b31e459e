"""A picture that is a matrix: the sun over hills and a lake. Mostly smooth, so few directions hold most of it."""

import numpy as np

from helptune.shapes import Float


def landscape(rows: int = 64, columns: int = 96) -> Float[np.ndarray, "rows columns"]:
    """Brightness from 0 to 1."""
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1.5 : columns * 1j]
    sky = 0.55 + 0.35 * y
    sun = 0.5 / (1 + np.exp(60 * (np.hypot(x - 1.05, y - 0.28) - 0.13)))
    picture = np.minimum(sky + sun, 1.0)
    hills = ((0.62, 0.09, 6.0, 0.4, 0.42), (0.70, 0.07, 9.0, 2.0, 0.28))  # height, swing, waves, phase, brightness
    for height, swing, waves, phase, brightness in hills:
        below = 1 / (1 + np.exp(-120 * (y - height - swing * np.sin(waves * x + phase))))
        picture = picture * (1 - below) + brightness * below
    lake = 1 / (1 + np.exp(-120 * (y - 0.84)))
    waves = 0.45 + 0.12 * np.sin(90 * y + 3 * np.sin(7 * x))
    return picture * (1 - lake) + waves * lake
