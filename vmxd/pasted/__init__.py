"""What people paste or bring, one file a format. Pure."""
