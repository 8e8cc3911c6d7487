"""The one flow: candidate × size × seed × suite → answers → scores → gates → record.

Private: no module here is public; see docs/compatibility.md.
"""
