"""Ways to embed a text."""
