"""The operators' routes below `/cache`."""
