"""The only reader of the environment. Each setting, its default and what it is for; `morag serve --help` tells them."""

import os
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import platformdirs
import psutil
from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from morag.domain.content import ContentType
from morag.domain.errors import StartupError
from morag.domain.limits import MOST, Limits

GIB = 1024**3
UNUSED = (
    "DATABASE_URL",
    "CELERY_BROKER_URL",
    "QDRANT_URL",
    "MORAG_BLOB_URL",
    "GEMINI_API_KEY",
    "MORAG_EMBEDDING_URL",
)
"""Variables whose names are taken for what is not built yet; who sets one must hear that it changes nothing."""
UNUSED_BY_TASKS = ("REDIS_URL", "MORAG_BLOB_URL")
"""Those that change nothing for a TaskManager as a library."""

T = TypeVar("T")

_POSTGRES = re.compile(r"postgres(ql)?(\+\w+)?://")
_HOST_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]{0,252}")


def _is_host(name: str) -> bool:
    """Whether a Host header could name it so, its port aside."""
    try:
        return bool(ip_address(name))
    except ValueError:
        return _HOST_NAME.fullmatch(name) is not None


def _parts(listed: str) -> list[str]:
    return [part.strip() for part in listed.split(",") if part.strip()]


def _cores() -> int:
    return psutil.cpu_count(logical=True) or 1


class Settings(BaseSettings):
    """Read from the environment; a field `x` is the variable `MORAG_X` unless it names its own."""

    model_config = SettingsConfigDict(
        env_prefix="MORAG_", env_ignore_empty=True, extra="ignore", populate_by_name=True, frozen=True
    )

    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("morag", appauthor=False)),
        description="where everything is kept: the database, files, the index; one server at a time",
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    server_url: str = Field(
        default="http://127.0.0.1:8000",
        validation_alias=AliasChoices("MORAG_SERVER_URL", "MORAG_API_BASE_URL"),
        description="where client commands go (MORAG_API_BASE_URL is read too)",
    )
    api_key: str | None = Field(default=None, repr=False, description="the key of client commands")
    key_store: Literal["database", "redis"] = Field(
        default="database", description="where API keys are kept: `database`, or `redis` alone (REDIS_URL)"
    )
    redis_url: str | None = Field(
        default=None,
        validation_alias="REDIS_URL",
        repr=False,
        description="a Redis that knows users' machines, and copies of the API keys for under a second, or all keys",
    )
    allow_anonymous: bool | None = Field(
        default=None,
        description="requests without a key: unset, only from this machine and only until a key is made; "
        "true, from anywhere; false, never",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Host names the server answers to, comma-separated"
    )
    tls_cert: Path | None = Field(
        default=None, description="certificate chain to serve HTTPS with, a PEM file; needs MORAG_TLS_KEY"
    )
    tls_key: Path | None = Field(default=None, description="its private key, a PEM file without a password")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="addresses or networks of proxies whose X-Forwarded-For, -Proto and -Host are believed, "
        "comma-separated",
    )
    user_requests_per_minute: int | None = Field(
        default=None, ge=0, le=MOST, description="requests each user may make a minute; unset: any number"
    )
    user_running: int | None = Field(default=None, ge=0, le=MOST, description="tasks of each user that may run at once")
    user_queued: int | None = Field(
        default=None, ge=0, le=MOST, description="tasks of each user that may stand in line"
    )
    user_stored_bytes: int | None = Field(default=None, ge=0, le=MOST, description="bytes each user may store")
    user_upload_bytes: int | None = Field(default=None, ge=0, le=MOST, description="largest file each user may send")
    workers: int = Field(default_factory=_cores, ge=0, le=256, description="conversions at once; 0: none here")
    max_upload_bytes: int = Field(default=2 * GIB, ge=1, description="largest file taken")
    child_memory_bytes: int = Field(default=4 * GIB, ge=64 * 1024**2, description="memory one conversion may use")
    whisper_model: str = Field(default="auto", description="speech model: a name, or a path")
    embedding_model: str = Field(default="auto", description="embedding model: a name, or a path")
    fetch_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="hosts or networks URL ingestion may reach though private, comma-separated"
    )
    retention_days: float = Field(default=7.0, gt=0, description="days an ended task and its log are kept")
    keep_originals: bool = Field(default=True, description="keep ingested originals beside their Markdown")
    min_free_bytes: int = Field(default=GIB // 2, ge=0, description="below this much free disk uploads are refused")
    task_deadline_s: float = Field(default=21_600.0, gt=0, description="everything of one task, from its first claim")
    remote_conversion_enabled: bool = Field(
        default=True, description="whether users' own machines may convert; false: all is done here"
    )
    remote_timeout_audio: float = Field(default=3600.0, gt=0, description="seconds one audio conversion may run")
    remote_timeout_video: float = Field(default=3600.0, gt=0, description="seconds one video conversion may run")
    remote_timeout_document: float = Field(default=600.0, gt=0, description="seconds one document conversion may run")
    remote_timeout_image: float = Field(default=300.0, gt=0, description="seconds one image conversion may run")
    remote_timeout_web: float = Field(default=600.0, gt=0, description="seconds one web page conversion may run")
    remote_timeout_youtube: float = Field(default=1800.0, gt=0, description="seconds one YouTube conversion may run")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least level logged")

    @field_validator("allowed_hosts", "fetch_allow", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(_parts(value)) if isinstance(value, str) else value

    @field_validator("host")
    @classmethod
    def _unbracket(cls, value: str) -> str:
        """[::1] is how URLs write ::1."""
        return value.removeprefix("[").removesuffix("]")

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(host.lower().removeprefix("[").removesuffix("]").removesuffix(".") for host in value)
        if not all(map(_is_host, names)):
            raise ValueError("name hosts only, such as example.org or 10.1.2.3: no scheme, port, path or wildcard")
        return names

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ip_network(each, strict=False)) for each in value)
        except ValueError:
            raise ValueError("name addresses or networks, such as 127.0.0.1 or 10.0.0.0/8") from None

    @field_validator("log_level", mode="before")
    @classmethod
    def _shout(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def everybody(self) -> Limits:
        """What each user may use who has no limits of their own."""
        return Limits(
            requests_per_minute=self.user_requests_per_minute,
            running=self.user_running,
            queued=self.user_queued,
            stored_bytes=self.user_stored_bytes,
            upload_bytes=self.user_upload_bytes,
        )

    def timeout_s(self, content_type: ContentType) -> float:
        """Running time of one conversion, seconds."""
        return {
            ContentType.AUDIO: self.remote_timeout_audio,
            ContentType.VIDEO: self.remote_timeout_video,
            ContentType.DOCUMENT: self.remote_timeout_document,
            ContentType.IMAGE: self.remote_timeout_image,
            ContentType.WEB: self.remote_timeout_web,
            ContentType.YOUTUBE: self.remote_timeout_youtube,
        }[content_type]


class Scale(BaseSettings):
    """What a TaskManager as a library is given beside its own process; each variable unset is a server less."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, case_sensitive=True)

    task_executor: Literal["background", "celery", "hybrid"] | None = Field(
        default=None, validation_alias="TASK_EXECUTOR", description="what runs tasks; hybrid if there is a broker"
    )
    heavy_tasks: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(), validation_alias="HEAVY_TASKS", description="names that are heavy too, comma-separated"
    )
    broker_url: str | None = Field(
        default=None, validation_alias="CELERY_BROKER_URL", repr=False, description="where Celery's doorbells wait"
    )
    result_backend: str | None = Field(
        default=None, validation_alias="CELERY_RESULT_BACKEND", repr=False, description="unused: results are records"
    )
    database_url: str | None = Field(
        default=None, validation_alias="DATABASE_URL", repr=False, description="a Postgres that holds the records"
    )

    @field_validator("heavy_tasks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return frozenset(_parts(value)) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: str | None) -> str | None:
        """Without the driver that other libraries want named there."""
        if value is None:
            return None
        if not _POSTGRES.match(value):
            raise ValueError("tasks are kept in a Postgres, such as postgresql://user:password@host/name, or in a file")
        return _POSTGRES.sub("postgresql://", value)

    @property
    def executor(self) -> Literal["background", "celery", "hybrid"]:
        """What runs tasks."""
        return self.task_executor or ("hybrid" if self.broker_url else "background")

    def notes(self) -> tuple[str, ...]:
        """A line for each variable that is set and changes nothing here. Never its value."""
        unused = [name for name in UNUSED_BY_TASKS if os.environ.get(name)]
        told = [f"{name} is set, but tasks do not use it." for name in unused]
        if self.result_backend:
            told.append("CELERY_RESULT_BACKEND is set and not used: results are in the record of each task.")
        if self.broker_url and self.executor == "background":
            told.append("CELERY_BROKER_URL is set and not used: TASK_EXECUTOR is background.")
        return tuple(told)


def variable(field: str) -> str:
    """The environment variable a field is read from."""
    return field if field.isupper() else f"MORAG_{field.upper()}"


def load(**overrides: object) -> Settings:
    """The settings of this process; overrides win over the environment. Raises StartupError naming the variable."""
    return _read(lambda: Settings(**overrides))  # pyright: ignore[reportArgumentType] - pydantic validates them


def load_scale() -> Scale:
    """What stands beside a TaskManager. Raises StartupError naming the variable."""
    scale = _read(Scale)
    if scale.executor != "background" and not scale.broker_url:
        raise StartupError(
            f"TASK_EXECUTOR is {scale.executor}, but there is no broker.",
            code="bad_setting",
            hint="Set CELERY_BROKER_URL, such as redis://localhost:6379/0, or leave TASK_EXECUTOR out.",
        )
    return scale


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except ValidationError as error:
        lines = [
            f"{variable(str(fault['loc'][0]))}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False)
        ]
        raise StartupError("; ".join(lines), code="bad_setting", hint="Correct the variable and start again.") from None


def unused_notes() -> tuple[str, ...]:
    """A line for each variable that is set and that this version does not use. Never its value."""
    return tuple(f"{name} is set, but this version does not use it yet." for name in UNUSED if os.environ.get(name))


def check_executor() -> None:
    """Raise StartupError if TASK_EXECUTOR asks for what the server cannot do."""
    asked = os.environ.get("TASK_EXECUTOR") or "background"
    if asked != "background":
        raise StartupError(
            f"TASK_EXECUTOR: {asked[:40]!r} is no executor of the server.",
            code="bad_setting",
            hint="Leave it out, or set it to `background`. (Applications with a TaskManager know celery and hybrid.)",
        )
