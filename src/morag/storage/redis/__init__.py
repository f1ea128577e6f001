"""Adapters over a Redis server (or Valkey)."""
