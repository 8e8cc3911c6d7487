"""What an answer is worth: checks, a likelihood judge, and whether a judge is admitted."""
