"""One router per resource, no logic."""
