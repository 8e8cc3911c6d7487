"""Should we ship this fine-tune? The public names, nothing else."""
