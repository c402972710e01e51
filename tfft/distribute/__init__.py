"""Where and how the training step runs, and how much memory it takes."""
