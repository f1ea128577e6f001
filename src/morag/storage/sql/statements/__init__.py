"""All SQL, written by hand and named, by what it is for; kept to what SQLite and Postgres share where they share it."""
