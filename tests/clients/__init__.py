"""A lab of real clients: each in an environment of its own, straight to an upstream and proxied."""
