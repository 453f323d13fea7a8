"""The documentation: Markdown here, the site in site/."""
