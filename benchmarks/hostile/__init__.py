"""Attack a proxy while honest clients use it, and measure the effects on the honest clients."""
