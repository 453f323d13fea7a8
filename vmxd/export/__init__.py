"""Views of an Inventory: metrics, text, JSON, the landing page, and the server that hands them out."""
