"""Text to vectors, one module a provider."""
