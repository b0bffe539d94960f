"""One harness that ends a process at every step of its work, and sees that the work takes effect once."""
