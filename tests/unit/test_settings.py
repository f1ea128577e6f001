from pathlib import Path

import pytest

from morag.cli.settings_help import variable
from morag.domain.content import ContentType
from morag.domain.errors import StartupError
from morag.settings import UNUSED, Scale, Settings, check_executor, load, load_scale, unused_notes

REFERENCE = Path(__file__).parents[2] / "docs/reference/settings.md"


def test_a_bad_value_is_refused_with_the_name_of_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_PORT", "eighty")
    with pytest.raises(StartupError, match="MORAG_PORT"):
        load()


def test_an_executor_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for fine in ("", "background"):
        monkeypatch.setenv("TASK_EXECUTOR", fine)
        check_executor()
    monkeypatch.setenv("TASK_EXECUTOR", "hybrid")
    with pytest.raises(StartupError, match="TASK_EXECUTOR"):
        check_executor()


def test_a_refusal_does_not_repeat_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_PORT", "s3cret")
    with pytest.raises(StartupError) as refused:
        load()
    assert "s3cret" not in str(refused.value)


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_FETCH_ALLOW", "10.0.0.0/8, intranet:8080,")
    assert load().fetch_allow == ("10.0.0.0/8", "intranet:8080")


def test_an_override_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_PORT", "1")
    assert load(port=2).port == 2


def test_the_second_name_of_the_server_url_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_API_BASE_URL", "http://127.0.0.1:9")
    assert load().server_url == "http://127.0.0.1:9"


def test_a_variable_without_our_prefix_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_URL", "http://127.0.0.1:9")
    assert load().server_url == "http://127.0.0.1:8000"
    assert load(server_url="http://127.0.0.1:7").server_url == "http://127.0.0.1:7"


def test_the_key_is_not_shown() -> None:
    assert "mrg_" not in repr(load(api_key="mrg_x_y"))


@pytest.mark.parametrize("content_type", list(ContentType))
def test_every_content_type_has_a_running_time(content_type: ContentType) -> None:
    assert load().timeout_s(content_type) > 0


def test_the_reference_names_every_setting() -> None:
    text = REFERENCE.read_text()
    names = [variable(name, field) for name, field in Settings.model_fields.items()]
    missing = [name for name in names if f"`{name}`" not in text]
    assert not missing


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    default = load().data_dir
    for name in ("MORAG_DATA_DIR", "MORAG_ALLOW_ANONYMOUS", "MORAG_PORT"):
        monkeypatch.setenv(name, "")
    settings = load()
    assert (settings.data_dir, settings.allow_anonymous, settings.port) == (default, None, 8000)


def test_allowed_hosts_are_plain_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_ALLOWED_HOSTS", "Example.ORG, [::1], 10.1.2.3, my_host")
    assert load().allowed_hosts == ("example.org", "::1", "10.1.2.3", "my_host")


@pytest.mark.parametrize(
    "host", ["*", "*.example.org", "http://example.org/", "example.org:8000", "abc.de:80", "a/b", "-"]
)
def test_what_no_host_header_could_equal_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("MORAG_ALLOWED_HOSTS", host)
    with pytest.raises(StartupError, match="MORAG_ALLOWED_HOSTS: name hosts only"):
        load()


def test_the_host_may_stand_in_brackets_as_in_a_url() -> None:
    assert load(host="[::1]").host == "::1"


def test_the_log_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_LOG_LEVEL", "debug")
    assert load().log_level == "DEBUG"


def test_a_variable_of_a_later_version_is_told_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in UNUSED:
        monkeypatch.delenv(name, raising=False)
    assert unused_notes() == ()
    monkeypatch.setenv("QDRANT_URL", "http://:s3cret@host")
    (note,) = unused_notes()
    assert "QDRANT_URL" in note
    assert "s3cret" not in note


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing beside the process."""
    for field in Scale.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    return monkeypatch


def test_tasks_run_in_process_and_with_a_broker_in_hybrid_unless_told_otherwise(alone: pytest.MonkeyPatch) -> None:
    assert (load_scale().executor, load_scale().notes()) == ("background", ())
    alone.setenv("CELERY_BROKER_URL", "redis://:s3cret@host/0")
    assert (load_scale().executor, load_scale().notes()) == ("hybrid", ())
    alone.setenv("TASK_EXECUTOR", "celery")
    assert load_scale().executor == "celery"
    alone.setenv("TASK_EXECUTOR", "background")
    (note,) = load_scale().notes()
    assert "CELERY_BROKER_URL" in note
    assert "s3cret" not in note + repr(load_scale())


@pytest.mark.parametrize("executor", ["celery", "hybrid"])
def test_an_executor_with_celery_needs_a_broker(alone: pytest.MonkeyPatch, executor: str) -> None:
    alone.setenv("TASK_EXECUTOR", executor)
    with pytest.raises(StartupError, match="no broker") as refused:
        load_scale()
    assert "CELERY_BROKER_URL" in str(refused.value.hint)


def test_an_executor_of_another_name_is_refused(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("TASK_EXECUTOR", "carrier-pigeon")
    with pytest.raises(StartupError, match=r"TASK_EXECUTOR: .*'background', 'celery' or 'hybrid'"):
        load_scale()


def test_heavy_tasks_are_named_with_commas(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("HEAVY_TASKS", "process_speak_audio, calculate_all_ratings,")
    assert load_scale().heavy_tasks == {"process_speak_audio", "calculate_all_ratings"}


@pytest.mark.parametrize("url", ["postgresql://u:p@h/d", "postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"])
def test_a_database_url_may_name_the_driver_of_another_library(alone: pytest.MonkeyPatch, url: str) -> None:
    alone.setenv("DATABASE_URL", url)
    assert load_scale().database_url == "postgresql://u:p@h/d"


@pytest.mark.parametrize("url", ["sqlite:///s3cret.db", "s3cret"])
def test_a_database_that_is_no_postgres_is_refused_without_its_url(alone: pytest.MonkeyPatch, url: str) -> None:
    alone.setenv("DATABASE_URL", url)
    with pytest.raises(StartupError, match="DATABASE_URL") as refused:
        load_scale()
    assert "s3cret" not in str(refused.value)


def test_what_changes_nothing_for_tasks_is_told_without_its_value(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("REDIS_URL", "redis://:s3cret@host/0")
    alone.setenv("CELERY_RESULT_BACKEND", "redis://:s3cret@host/1")
    notes = load_scale().notes()
    assert [note.partition(" ")[0] for note in notes] == ["REDIS_URL", "CELERY_RESULT_BACKEND"]
    assert "s3cret" not in str(notes)


def test_the_reference_names_everything_beside_the_process() -> None:
    text = REFERENCE.read_text()
    assert not [each for each in Scale.model_fields.values() if f"`{each.validation_alias}`" not in text]
