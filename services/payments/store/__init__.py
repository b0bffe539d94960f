"""What payments remembers: every SQL statement of this service, by subject."""
