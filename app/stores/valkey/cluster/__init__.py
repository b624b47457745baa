"""Support for a Valkey cluster, which the store uses like one server."""
