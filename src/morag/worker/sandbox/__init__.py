"""Conversions in child processes with limits: one input, one folder, no network."""
