"""Real CPUs: microarchitectures, and the capability values that were seen on them. Loaded only on demand."""
