"""The log of commands that work by themselves: on standard error, and quiet, because commands speak for themselves."""

from morag.settings import Settings, load
from morag.telemetry import configure


def settings_with_quiet_log() -> Settings:
    """The settings; from now on only warnings are logged, unless MORAG_LOG_LEVEL is set. Raises StartupError."""
    settings = load()
    configure(level=settings.log_level if "log_level" in settings.model_fields_set else "WARNING")
    return settings
