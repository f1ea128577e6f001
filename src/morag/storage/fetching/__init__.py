"""The guarded fetcher: the one way from a URL to bytes."""
