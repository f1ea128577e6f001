"""What to do when an attempt does not end well: classify, then decide."""
