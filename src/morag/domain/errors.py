"""Every error a caller may meet.

    MoragError
    ├── InvalidRequest          what is asked cannot be
    │   └── ChecksumDiffers     a piece of an upload was damaged on the way
    ├── NotFound                no such thing, or not yours
    ├── Conflict
    │   ├── IdempotencyConflict the key was used with another body
    │   ├── DocumentExists      the id is taken
    │   └── OffsetDiffers       a piece of an upload does not begin where the upload ends
    ├── TooLarge
    ├── LimitReached            a limit of this user; it passes
    ├── ConversionError         the input cannot become Markdown
    ├── FetchError
    │   ├── FetchRefused        an address the server must not reach
    │   └── FetchFailed         the other side did not deliver
    ├── StorageFull             disk too low for new input
    ├── Unavailable             try again later
    └── StartupError            the server cannot start like this
        └── SchemaTooNew        the data was written by a newer version

Each carries a `code` for programs, a message, and a `hint` that says what to do next. Messages hold no path of the
server and no secret.
"""

from typing import ClassVar


class MoragError(Exception):
    """Base of all errors above."""

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint


class InvalidRequest(MoragError):
    """What is asked cannot be; `field` names the part of the request at fault."""

    default_code = "invalid_request"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.field = field


class NotFound(MoragError):
    """No such thing, or another user's; the two are never told apart."""

    default_code = "not_found"


class Conflict(MoragError):
    """The request contradicts what is already there."""

    default_code = "conflict"


class IdempotencyConflict(Conflict):
    """The idempotency key was used within a day for a request with another body."""

    default_code = "idempotency_conflict"


class DocumentExists(Conflict):
    """The document id is taken, by a visible document or by an ingest under way."""

    default_code = "document_exists"


class OffsetDiffers(Conflict):
    """The piece does not begin where the upload ends; `offset` is where it does."""

    default_code = "offset_differs"

    def __init__(self, offset: int) -> None:
        super().__init__(f"The upload is {offset} bytes long.", hint="Go on from there.")
        self.offset = offset


class ChecksumDiffers(InvalidRequest):
    """The bytes of a piece are not those that were sent; they were dropped."""

    default_code = "checksum_differs"


class TooLarge(MoragError):
    """The input is over a size limit."""

    default_code = "too_large"


class LimitReached(MoragError):
    """The user has as much at once as they may; `retry_after_s` says when asking again may help."""

    default_code = "limit_reached"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None, retry_after_s: float = 1.0
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after_s = retry_after_s


class ConversionError(MoragError):
    """The input cannot become Markdown, and trying again would not change that."""

    default_code = "cannot_convert"


class FetchError(MoragError):
    """A URL could not be turned into bytes."""

    default_code = "fetch_failed"


class FetchRefused(FetchError):
    """The URL, or where it leads, is one the server must not reach."""

    default_code = "url_not_allowed"


class FetchFailed(FetchError):
    """The other side did not deliver; `is_temporary` says whether trying again may help."""

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None, is_temporary: bool = False
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.is_temporary = is_temporary


class StorageFull(MoragError):
    """The disk is too low to take new input; running work still settles."""

    default_code = "disk_low"


class Unavailable(MoragError):
    """It cannot be done now; the same request may succeed later."""

    default_code = "unavailable"


class StartupError(MoragError):
    """The server cannot start like this; the hint says what to change."""

    default_code = "cannot_start"


class SchemaTooNew(StartupError):
    """The data folder was written by a newer version of MoRAG."""

    default_code = "schema_too_new"
