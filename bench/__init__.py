"""The benchmark: vmxd and its peers as whole processes, measured from outside by one client in one run."""
