"""MoRAG: everything you have as Markdown you can search."""
