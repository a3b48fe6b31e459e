"""The training core: loss, optimizer, step, checkpoints, and the loop that joins them."""
