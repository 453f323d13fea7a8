"""What the shell and man(1) know of vmxd, generated from its parser: deploy/share."""
