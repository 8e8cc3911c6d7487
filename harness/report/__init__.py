"""What people see: a run record as a page, as Markdown and as JSON."""
