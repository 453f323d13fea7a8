"""Many hosts at once: where they come from, and what is asked of them."""
