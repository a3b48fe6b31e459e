"""What the model learns from: conversations, checked, turned into tokens, packed into batches."""
