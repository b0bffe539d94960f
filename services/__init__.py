"""The services: each owns its tables, they exchange facts only through topics."""
