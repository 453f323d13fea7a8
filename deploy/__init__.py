"""What runs vmxd in a fleet. Only the Grafana dashboards are made by a program."""
