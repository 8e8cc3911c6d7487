"""Results that outlive a run: artifacts by content, answers and judgments in SQLite."""
