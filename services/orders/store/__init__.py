"""Every SQL statement of orders, by subject."""
