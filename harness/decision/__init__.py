"""What the scores mean: paired comparison, claims, gates and their cost. Pure: no file, clock or network."""
