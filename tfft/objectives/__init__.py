"""What the training step minimises, beyond the task's plain loss; one file each."""
