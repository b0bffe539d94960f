"""What orders does, by subject: each action locks, decides, saves and tells, once for a whole list."""
