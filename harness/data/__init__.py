"""Rows in: formats, validation, fingerprints, nested subsets, leakage. Only ``files`` touches a disk."""
