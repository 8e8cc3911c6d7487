"""How good what the harness tells is, against a known truth."""
