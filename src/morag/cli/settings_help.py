"""Every setting with its variable, default and meaning: what `morag serve --help` ends with."""

import textwrap

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from morag.settings import Settings

_WIDTH = 100
_INDENT = " " * 6


def lines() -> list[str]:
    """The settings as text, generated from their one definition."""
    told = ["Settings, read from the environment:", ""]
    for name, field in Settings.model_fields.items():
        told.append(f"  {variable(name, field)}  [{default(field)}]")
        told += textwrap.wrap(field.description or "", _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return told


def variable(name: str, field: FieldInfo) -> str:
    """The environment variable of a field."""
    prefix = Settings.model_config.get("env_prefix") or ""
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias]
    own = [each for each in names if isinstance(each, str) and each != name]
    return own[0] if own else f"{prefix}{name}".upper()


def default(field: FieldInfo) -> str:
    """What it is when the variable is not set, as one would write it there."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), ""):
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
