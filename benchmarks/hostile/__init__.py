"""Attack a proxy while honest clients use it, and measure what these notice."""
