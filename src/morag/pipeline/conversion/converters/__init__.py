"""One module a kind of content."""
