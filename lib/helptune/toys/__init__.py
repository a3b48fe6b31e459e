"""Models small enough to see through, and data made by rule: what a notebook needs once, beside the real thing."""
