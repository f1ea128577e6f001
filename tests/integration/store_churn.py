"""A process to be killed: submits, claims and settles without pause; each acknowledged act is a line on stdout."""

import asyncio
import sys
from pathlib import Path

import uuid_utils

from morag.domain.task import Answer, Completed, NewTask, Offers
from morag.storage.host import SystemClock, this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import Database, open_database
from morag.storage.sql.postgres.database import PostgresDatabase, open_postgres
from morag.telemetry import configure

NAMESPACE = "churn"


def told(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def submit(database: Database | PostgresDatabase, user_id: str, n: int) -> None:
    for _ in range(n):
        new = NewTask(id=str(uuid_utils.uuid7()), namespace=NAMESPACE, name="work", user_id=user_id)
        await database.tasks.submit([new])
        told("submitted", new.id)


async def work(database: Database | PostgresDatabase, name: str) -> None:
    worker, offers = this_worker(name), Offers(namespace=NAMESPACE)
    while True:
        claim_id = str(uuid_utils.uuid7())
        leases = await database.tasks.claim(
            lanes=["celery"], worker=worker, claim_id=claim_id, n=2, lease_s=30.0, offers=offers
        )
        for lease in leases:
            told("granted", lease.task.id, str(lease.fence))
            answer = await database.tasks.settle(lease.task.id, lease.fence, Completed(result=name))
            told("settled" if answer is Answer.OK else answer.value, lease.task.id)
        if not leases:
            await asyncio.sleep(0.001)


async def opened(target: str) -> Database | PostgresDatabase:
    if target.startswith("postgresql:"):
        return await open_postgres(target, signals=LocalSignals())
    return await open_database(Path(target), clock=SystemClock(), signals=LocalSignals())


async def churn(target: str, name: str, n: int) -> None:
    database = await opened(target)
    async with asyncio.TaskGroup() as group:
        for user in range(4):
            group.create_task(submit(database, f"user-{user}", n))
        for _ in range(4):
            group.create_task(work(database, name))


if __name__ == "__main__":
    configure(level="WARNING")
    asyncio.run(churn(sys.argv[1], sys.argv[2], int(sys.argv[3])))
