"""Adapters of the ports: databases, files, networks."""
