"""The only I/O on a host: its files under proc/, sys/ and dev/, or a recording of them."""
