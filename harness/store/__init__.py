"""Results that outlive a run: artifacts by content, answers and judgments in SQLite.

Private: no module here is public; see docs/compatibility.md.
"""
