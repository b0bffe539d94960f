"""Orders: from a cart to a delivered parcel."""
