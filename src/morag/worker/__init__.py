"""What does the work: claim, run in a sandbox, settle."""
