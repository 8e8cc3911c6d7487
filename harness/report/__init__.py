"""What people see: a run record as a page, as Markdown and as JSON.

Private: no module here is public; see docs/compatibility.md.
"""
