"""Parameter-efficient fine-tuning: one file a method."""
