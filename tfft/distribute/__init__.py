"""Where and how the training step runs."""
