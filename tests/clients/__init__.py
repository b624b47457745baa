"""Real clients, each in its own environment, that call an upstream directly and via the proxy."""
