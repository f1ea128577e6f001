"""Markdown to findable chunks."""
