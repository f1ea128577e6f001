"""Adapters that keep everything in this process's memory: for tests, and as the plainest form of each promise."""
