"""From raw data to batches."""
