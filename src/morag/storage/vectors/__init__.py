"""The vector and keyword indexes."""
