"""Composition root: the only package that names concrete adapters. Reads settings, hands plain values down.

users.opened_users(settings) ─▶ keys, limits
parts.opened(settings) ─▶ Parts (stores, files, index, handlers)
system.assemble(parts, run) ─▶ System (what the API serves)
"""
