"""The task record's life: submit, run, settle, sweep."""
