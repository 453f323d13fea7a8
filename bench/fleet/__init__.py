"""A fleet in Prometheus: hosts simulated from recordings, and what rules and queries over them cost."""
