"""The `morag` command."""
