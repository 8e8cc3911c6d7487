"""Scores of answers: checks, judges, and the admission of a judge."""
