"""Hands views out: HTTP, TLS, systemd."""
