"""How fast the harness is, each time against a named reference measured in the same process."""
