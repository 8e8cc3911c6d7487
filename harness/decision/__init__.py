"""From scores to a decision: paired comparison, claims, gates, cost. Pure: no file, clock or network."""
