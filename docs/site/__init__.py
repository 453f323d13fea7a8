"""The site: Sphinx' settings, and the generator of the pages in docs/reference."""
