"""An Inventory told: text, page, JSON, metrics. No view opens a file or a socket."""
