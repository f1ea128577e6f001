"""The data plane: what is done to a document."""
