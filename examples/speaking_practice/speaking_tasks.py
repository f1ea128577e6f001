"""The application's tasks: all that goes on after a response, and must survive a restart.

Child processes import this module to find the function they run, so nothing is opened when it is imported. Tasks may
run twice, if a process is killed in the middle; so whatever they write is safe to write twice.
"""

import asyncio
import base64
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from platformdirs import user_data_path
from practice import score
from speech import heard
from store import Store
from views import LocalViews, RedisViews, Views

from morag import TaskContext, TaskFailed, TaskManager

FOLDER = Path(os.environ.get("SPEAKING_DATA_DIR") or user_data_path("speaking-practice"))
"""The application's database, and beside it the tasks'."""
REDIS_URL = os.environ.get("REDIS_URL")
SESSION_S = 24 * 3600.0
HOUR_S = 3600.0

tasks = TaskManager("speaking", data_dir=FOLDER)
store = Store(FOLDER / "practice.db")
views: Views = RedisViews(store, REDIS_URL) if REDIS_URL else LocalViews(store)


@tasks.task("process_speak_audio", heavy=True, timeout_s=120)
def process_speak_audio(
    ctx: TaskContext, resource_id: str, audio_chunks: list[str], user_name: str = "Student"
) -> dict[str, Any]:
    """Listen to a recording, in base64, and score it. Heavy: it has a child process of its own, which can be killed."""
    sentence = store.sentence(resource_id)
    if sentence is None:
        raise TaskFailed(f"There is no sentence {resource_id}.", hint="Choose one of the page.", code="no_sentence")
    recording = b"".join(base64.b64decode(chunk) for chunk in audio_chunks)
    text = heard(recording, ctx.progress)
    ctx.progress(0.95, "scoring", "Comparing it with the sentence…")
    result = score(sentence, text)
    store.add_score(ctx.task_id, resource_id, user_name, result.percent)
    return {
        "resource_id": resource_id,
        "user_name": user_name,
        "transcript": text,
        "percent": result.percent,
        **asdict(result),
    }


@tasks.task("calculate_rating", retries=3, timeout_s=30)
async def calculate_rating(resource_id: str, user_name: str = "") -> dict[str, Any]:
    """The rating of a learner for a sentence, or of the sentence by everybody. Light: it runs on the event loop."""
    rating = await asyncio.to_thread(store.rate, resource_id, user_name)
    return {"resource_id": resource_id, "user_name": user_name, "rating": rating}


@tasks.task("calculate_all_ratings", trigger="rating/recalculate", every=HOUR_S)
def calculate_all_ratings(ctx: TaskContext) -> int:
    """All ratings anew: how many. A plain function runs in a thread, and asks whether it is still wanted."""
    learners = store.learners()
    pairs = [*learners, *((resource_id, "") for resource_id in sorted({resource_id for resource_id, _ in learners}))]
    for done, (resource_id, user_name) in enumerate(pairs):
        if ctx.is_cancelled:
            break
        store.rate(resource_id, user_name)
        ctx.progress((done + 1) / len(pairs), "rating")
    return len(pairs)


@tasks.task("sync_impressions_from_redis", trigger="impressions/sync", every=300, retries=3)
async def sync_impressions_from_redis() -> int:
    """Move the counted page views to their sentences: how many."""
    return await views.sync()


@tasks.task("cleanup_expired_sessions", trigger="cleanup/sessions", every=HOUR_S)
def cleanup_expired_sessions() -> int:
    """Forget the visits that nobody was seen in for a day: how many."""
    return store.end_sessions(idle_s=SESSION_S)
