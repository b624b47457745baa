"""The same on a Valkey cluster."""
