"""What inventory does, by subject: lock, decide, save, tell, each once for a whole list."""
