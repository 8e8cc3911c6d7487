"""From scores to a decision: paired comparison, claims, gates, cost. Pure: no file, clock or network.

Private: no module here is public; see docs/compatibility.md.
"""
