"""Functions of an application, run: on the loop, in threads, in child processes."""
