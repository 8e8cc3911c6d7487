"""Fine-tuning where a service computes and the loop is ours: Tinker's wire."""
