"""vmxd fleet: many hosts at once, from recordings and from a real Prometheus."""
