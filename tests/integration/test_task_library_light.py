import subprocess
import sys

LOADED = "import sys; {code}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
HEAVY = {"fastapi", "starlette", "pydantic", "numpy", "onnxruntime", "qdrant_edge", "kreuzberg", "tokenizers", "lxml"}
SERVERS = {"asyncpg", "celery", "kombu", "redis"}


def loaded(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


def test_importing_the_package_loads_next_to_nothing() -> None:
    assert not loaded("import morag") & (HEAVY | {"asyncio", "structlog", "psutil", "apsw"})


def test_the_library_loads_no_converter_no_index_and_no_web_framework() -> None:
    assert not loaded("from morag import TaskManager; TaskManager('light').task()") & (HEAVY | SERVERS)


def test_without_a_broker_celery_is_not_loaded_though_its_workers_are_provided_for() -> None:
    assert not loaded("from morag import TaskManager; assert TaskManager('light').celery_app() is None") & SERVERS
