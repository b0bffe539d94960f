"""What inventory remembers: every SQL statement of this service, by subject."""
