"""The store that a fleet shares: Valkey with the valkey-search module."""
