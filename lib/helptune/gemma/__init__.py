"""The base model: Gemma 1 and Gemma 3, their tokenizer, chat format, weights and generation."""
