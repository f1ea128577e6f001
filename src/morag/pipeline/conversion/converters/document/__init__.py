"""Converters of documents: office files, PDF, mail, text."""
