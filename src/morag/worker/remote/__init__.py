"""A user's own machine: takes its owner's work from a server over HTTPS, converts it, brings the results back."""
