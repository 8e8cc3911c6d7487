"""What is kept between runs: artifacts by content, answers and judgments in SQLite."""
