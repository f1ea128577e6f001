"""A spreadsheet cell's value as its reader sees it."""

import datetime as dt
import re
from typing import Protocol

_PERCENT = re.compile(r"0(?:\.(0+))?%")


class Valued(Protocol):
    """What is needed of a cell."""

    @property
    def value(self) -> object:
        """What it holds."""
        ...

    @property
    def number_format(self) -> str:
        """How Excel shows it."""
        ...


def shown(cell: Valued) -> str:
    """The value as text: dates in ISO form, percentages with their sign, whole numbers without a point."""
    match cell.value:
        case None:
            return ""
        case bool() as truth:
            return "TRUE" if truth else "FALSE"
        case dt.datetime() as moment:
            return _moment(moment)
        case dt.date() | dt.time() as day:
            return day.isoformat()
        case int() | float() as number:
            return _number(number, cell.number_format)
        case other:
            return str(other)


def _moment(moment: dt.datetime) -> str:
    if moment.time() == dt.time(0):
        return moment.date().isoformat()
    return moment.replace(microsecond=0).isoformat(sep=" ")


def _number(number: float, number_format: str) -> str:
    """Fifteen digits are what Excel keeps; more is noise of the binary form."""
    if percent := _PERCENT.search(number_format or ""):
        return f"{number * 100:.{len(percent[1] or '')}f}%"
    return f"{number:.15g}"
