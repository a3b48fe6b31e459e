"""From sources to a dataset one can trust: a recipe, the passes that carry it out, and what they dropped."""
