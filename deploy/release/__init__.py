"""What a release is made of, and the checks before it: deploy/release/README.md."""
