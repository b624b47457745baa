"""Break what a proxy stands on while clients ask it, and count what that costs them."""
