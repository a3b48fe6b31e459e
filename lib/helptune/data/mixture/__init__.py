"""From sources to a dataset one can trust: a recipe, the passes that carry it out, what they dropped, what they made."""
