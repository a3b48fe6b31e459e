"""Capability retention: what the base model could do before tuning, and whether the tuned one still can."""
