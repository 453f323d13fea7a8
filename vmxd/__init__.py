"""vmxd: every VMX capability of every logical CPU of a host, read, compared and served to Prometheus."""

__version__ = "0.1.0"
