"""What list items begin with in print."""

import re

_SIGNS = "•◦▪▫‣⁃●○■□·\uf0b7\uf0a7*–—-"  # noqa: RUF001 - the bullets and dashes that are printed; \uf0b7 is Symbol's

BULLET = re.compile(rf"[{_SIGNS}]\s+(?=\S)")
"""A bullet and the blank behind it."""
NUMBER = re.compile(r"\(?(?:\d{1,3}|[a-z])[.)]\s+(?=\S)")
"""A number or letter and the blank behind it."""
MARKER = re.compile(rf"[{_SIGNS}]|\(?(?:\d{{1,3}}|[a-zA-Z]|[ivx]{{1,4}})[.)]|\[\d{{1,3}}\]")
"""A marker by itself, its item standing apart from it."""
SECTION = re.compile(r"(?:\d{1,2}|[A-Z])(?:\.\d{1,2}){1,3}\.?")
"""A section's number by itself, its heading standing apart from it."""
