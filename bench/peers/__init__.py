"""What a user would run instead, set up for the same unit of work."""
