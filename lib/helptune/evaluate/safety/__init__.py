"""Does tuning make a model less safe, or more timid? Unsafe answers to unsafe prompts, refusals of safe ones."""
