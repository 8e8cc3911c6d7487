"""Training: what makes a model from rows. It knows no candidate."""
