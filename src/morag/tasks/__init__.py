"""TaskManager as a library for any application: durable tasks on one SQLite file, no server beside it."""
