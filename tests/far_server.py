"""A server of a few lines for the parts of a worker, and a screen that remembers what it was told."""

import asyncio
from collections.abc import Callable

import httpx2

from morag.domain.errors import MoragError
from morag.protocol import LeaseMessage, Registered

Answer = Callable[[httpx2.Request], httpx2.Response]


def problem(status: int, code: str, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json={"code": code, "detail": f"It is {code}."}, headers=headers)


class Line:
    def __init__(self) -> None:
        self.told: list[str] = []

    def at(self, fraction: float, stage: str, message: str) -> None:
        self.told.append(f"{fraction} {stage} {message}")

    def done(self, text: str) -> None:
        self.told.append(f"done {text}")

    def failed(self, text: str) -> None:
        self.told.append(f"failed {text}")


class Screen:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.lines: list[Line] = []

    def registered(self, session: Registered) -> None:
        self.told.append(f"registered {session.generation}")

    def away(self, error: MoragError) -> None:
        self.told.append(f"away {error.code}")

    def back(self) -> None:
        self.told.append("back")

    def paused(self, *, is_paused: bool) -> None:
        self.told.append(f"paused {is_paused}")

    def leaving(self, why: str) -> None:
        self.told.append(f"leaving {why}")

    def job(self, lease: LeaseMessage) -> Line:
        return self.left_over(lease.attempt_id)

    def left_over(self, name: str) -> Line:
        self.told.append(f"job {name}")
        self.lines.append(Line())
        return self.lines[-1]


class FakeServer:
    """Answers the first request whose method and path end as a rule says; the last answer of a rule is repeated."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self._asked = asyncio.Event()
        self._rules: dict[tuple[str, str], list[Answer | httpx2.Response]] = {}

    def on(self, method: str, ending: str, *answers: Answer | httpx2.Response) -> None:
        self._rules[method, ending] = list(answers)

    def answers(self, method: str, ending: str) -> list[Answer | httpx2.Response]:
        return list(self._rules[method, ending])

    def asked(self, method: str, ending: str) -> list[httpx2.Request]:
        return [each for each in self.requests if each.method == method and each.url.path.endswith(ending)]

    async def until_asked(self, method: str, ending: str, times: int = 1) -> None:
        while len(self.asked(method, ending)) < times:
            self._asked.clear()
            await self._asked.wait()

    async def handle(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.requests.append(request)
        self._asked.set()
        for (method, ending), answers in self._rules.items():
            if request.method == method and request.url.path.endswith(ending):
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                return answer(request) if callable(answer) else answer
        raise AssertionError(f"unexpected: {request.method} {request.url}")
