"""Bytes to Markdown with provenance."""
