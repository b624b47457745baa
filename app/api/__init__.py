"""The HTTP face: thin endpoints."""
