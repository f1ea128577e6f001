"""The task and document store on a Postgres server, through `asyncpg`: the extra `postgres`."""
