"""The store that a fleet of proxies shares: Valkey with the module valkey-search."""
