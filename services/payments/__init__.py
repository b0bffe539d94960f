"""Payments: from held stock to proven money, and back to the payer where it must."""
