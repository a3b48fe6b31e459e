"""Where conversations come from: one file a source, each a function from located rows to conversations."""
