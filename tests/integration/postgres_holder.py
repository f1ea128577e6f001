"""A process to be killed in the middle of a transaction: holds the turn of a lane and an open grant of it."""

import sys
import time

from morag.storage.sql.postgres.link import Address, Link

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"

if __name__ == "__main__":
    link = Link(Address(url=sys.argv[1], schema="morag"))
    link.open()
    link.script("BEGIN")
    link.rows(LOCK, {"name": "\x1f".join(("lane", sys.argv[2], sys.argv[3]))})
    link.run("UPDATE tasks SET is_ready = 0, fence = fence + 1 WHERE state = 'pending'", {})
    sys.stdout.write("held\n")
    sys.stdout.flush()
    time.sleep(600)
