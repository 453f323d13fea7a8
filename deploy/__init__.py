"""What runs vmxd in a fleet. Grafana dashboards, completion scripts and the man page are made by programs."""
