"""Requests made from a server's own OpenAPI document, sent with every sort of key, and what is wrong with the answers.

Half of them obey the document and half break it. Ids in a path are at times those of things that are there.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, reject, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks

LONGEST_S = 30.0
"""An answer that takes longer is a hang; nothing is asked that waits."""
PROBLEM = "application/problem+json"
REFUSALS = frozenset({400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 426, 429, 460, 503, 504, 507})
"""Statuses of problems, which the document tells by its rules and describes as `default`."""


_KNOWN = 0.4
"""How often a name that is known is given a known value."""
_URLS = frozenset({"url", "webhook_url"})

# the tool's own generic types tell a strict checker nothing
Operation: TypeAlias = Any
Case: TypeAlias = Any
_TOLD: Any = checks
_CHECKS: list[Any] = [
    _TOLD.status_code_conformance,
    _TOLD.content_type_conformance,
    _TOLD.response_headers_conformance,
    _TOLD.response_schema_conformance,
]
Json: TypeAlias = str | int


@dataclass(kw_only=True)
class Tally:
    """What was answered."""

    statuses: Counter[int] = field(default_factory=Counter[int])
    done: Counter[str] = field(default_factory=Counter[str])
    """Requests that were answered with what was asked for, by operation."""
    slowest: tuple[float, str] = (0.0, "")
    """Seconds, and of which operation."""
    faults: dict[str, str] = field(default_factory=dict[str, str])
    """What was wrong, by operation and kind: the first of each."""

    @property
    def total(self) -> int:
        """Requests that were answered."""
        return self.statuses.total()


class Fuzz:
    """Asks a server everything its document describes, and keeps a tally."""

    def __init__(self, address: str, *, page: str) -> None:
        """Ask the server at `address`. `page`, a URL, stands for every other that it could reach."""
        self.tally = Tally()
        self._address = address
        self._keys: Sequence[str | None] = [None]
        self._known: dict[str, Sequence[Json]] = dict.fromkeys(_URLS, (page,))
        self._session = requests.Session()
        self._session.trust_env = False
        described = self._session.get(f"{address}/openapi.json", timeout=LONGEST_S).json()
        document: Any = schemathesis.openapi.from_dict(described)
        operations: dict[str, Operation] = {each.ok().label: each.ok() for each in document.get_all_operations()}
        self.operations = dict(sorted(operations.items(), key=lambda each: each[0].startswith("DELETE")))
        """By name; those that delete are the last."""
        self._never_wrong = {label for label, each in self.operations.items() if not _takes_more_than_a_path(each)}

    def be(self, keys: Sequence[str | None], known: Mapping[str, Sequence[Json]]) -> None:
        """Ask from now on with any of `keys`, None for no key, and at times about what is `known` by its name."""
        self._keys = keys
        self._known.update(known)

    def close(self) -> None:
        """Hang up."""
        self._session.close()

    def ask(self, label: str, count: int) -> None:
        """Send at most `count` requests to an operation; fewer if there are no more different ones."""
        operation, half = self.operations[label], max(count // 2, 1)
        if label not in self._never_wrong:
            try:
                self._ask(operation, half, GenerationMode.NEGATIVE)
            except Unsatisfiable:
                self._never_wrong.add(label)
        if label in self._never_wrong:
            self._ask(operation, half, GenerationMode.POSITIVE)
        self._ask(operation, half, GenerationMode.POSITIVE)

    def _ask(self, operation: Operation, count: int, mode: GenerationMode) -> None:
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            verbosity=Verbosity.quiet,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
        def send(case: Case, data: st.DataObject) -> None:
            chance = random.Random(data.draw(st.integers(0, 2**32)))  # noqa: S311 - no secret
            self._tame(case.path_parameters, chance)
            self._tame(case.body, chance)
            self._send(case, chance.choice(self._keys))

        send()

    def _send(self, case: Case, key: str | None) -> None:
        headers = {"Prefer": "wait=0", **({"Authorization": f"Bearer {key}"} if key else {})}
        began, label = time.monotonic(), case.operation.label
        try:
            response = case.call(self._address, self._session, headers, timeout=LONGEST_S)
        except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
            reject()  # no client can send that
        except requests.exceptions.RequestException as error:
            self._fault(label, type(error).__name__, case, "no answer")
            return
        self.tally.statuses[response.status_code] += 1
        self.tally.slowest = max(self.tally.slowest, (time.monotonic() - began, label))
        if response.status_code < 400:
            self.tally.done[label] += 1
        for kind in _faults(case, response):
            self._fault(label, kind, case, response.text[:300])

    def _fault(self, label: str, kind: str, case: Case, told: str) -> None:
        about = f"{case.method} {case.formatted_path} {case.headers} {case.query} {str(case.body)[:300]}\n    {told}"
        self.tally.faults.setdefault(f"{label}: {kind}", about)

    def _tame(self, body: object, chance: random.Random) -> None:
        """Now and then what is known. Nothing elsewhere is fetched or told, and nothing is waited for."""
        if isinstance(body, list):
            for each in cast("list[object]", body):
                self._tame(each, chance)
        if isinstance(body, dict):
            fields = cast("dict[str, object]", body)
            for name, value in fields.items():
                is_reachable = name in _URLS and str(value).lower().startswith("http")
                if name in self._known and (is_reachable or chance.random() < _KNOWN):
                    fields[name] = chance.choice(self._known[name])
                elif name == "wait_s" and isinstance(value, float | int) and value > 0:
                    fields[name] = 0
                else:
                    self._tame(value, chance)


def _takes_more_than_a_path(operation: Operation) -> bool:
    """Whether there is anything to be wrong: any text is an id."""
    return bool(operation.body) or any(each.location.value != "path" for each in operation.iter_parameters())


def _faults(case: Case, response: schemathesis.Response) -> Iterator[str]:
    status, media_type = response.status_code, (response.headers.get("content-type") or [""])[0]
    described = str(status) in case.operation.responses.status_codes
    if not described and status not in REFUSALS:
        yield f"status {status}"
    if status in REFUSALS and not described and media_type != PROBLEM:
        yield f"{status} is no problem but {media_type}"
    try:
        case.validate_response(response, checks=_CHECKS)
    except FailureGroup as group:
        yield from (f"{status} {each}" for each in group.exceptions)
    except Failure as failure:
        yield f"{status} {failure}"
