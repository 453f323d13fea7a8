"""What a release is made of, and the checks before it: docs/releasing.md."""
