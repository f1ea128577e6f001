"""SQLite's own errors as callers know them."""

import apsw
import pytest

from morag.domain.errors import MoragError, StorageFull, Unavailable
from morag.storage.sql.troubles import told


@pytest.mark.parametrize(
    "error",
    [
        apsw.IOError(),
        apsw.CantOpenError(),
        apsw.ReadOnlyError(),
        apsw.PermissionsError(),
        apsw.ProtocolError(),
        apsw.CorruptError(),
        apsw.NotADBError(),
        apsw.BusyError(),
        apsw.LockedError(),
        apsw.NoMemError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_trouble_with_the_file_is_unavailable_with_a_hint(error: apsw.Error) -> None:
    found = told(error)
    assert isinstance(found, Unavailable)
    assert found.hint


def test_full_disk_is_told_as_such() -> None:
    assert isinstance(told(apsw.FullError()), StorageFull)


@pytest.mark.parametrize("error", [apsw.SQLError("no such table"), apsw.ConstraintError(), KeyError("mine")])
def test_what_is_a_bug_stays_what_it_is(error: Exception) -> None:
    assert told(error) is error
    assert not isinstance(told(error), MoragError)
