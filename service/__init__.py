"""The roles as real processes."""
