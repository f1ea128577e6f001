"""The task and document store in SQL."""
