"""Break the parts that a proxy depends on while clients send requests, and count the effects."""
