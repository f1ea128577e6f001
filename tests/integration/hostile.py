"""Converters that do what a converter must not; loaded by the children of test_sandbox.py, which names the act."""

import ctypes
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from morag.domain.content import ContentType, Document
from morag.domain.errors import ConversionError
from morag.pipeline.ports import ConversionInput, ReportProgress

IDENTITY = secrets.token_hex(8)
served: list[str] = []


def convert(given: ConversionInput, report: ReportProgress) -> Document:
    served.append(str(given.options["act"]))
    markdown = globals()[str(given.options["act"])](given, report)
    return Document(
        markdown=markdown,
        content_type=ContentType.DOCUMENT,
        media_type="text/plain",
        title=None,
        metadata={},
        segments=(),
    )


def echo(given: ConversionInput, report: ReportProgress) -> str:
    report(0.5, "parsing", "half way")
    return _source(given).read_text(encoding="utf-8")


def identify(given: ConversionInput, _: ReportProgress) -> str:
    folders = (_source(given).parent, given.work_dir.parent)
    found = [path.name for folder in folders for path in folder.rglob("*") if path.is_file()]
    (given.work_dir / "left-behind").write_text("mine")
    return json.dumps({"child": IDENTITY, "served": len(served), "files": found})


def environment(*_: object) -> str:
    return json.dumps(dict(os.environ))


def refuse(*_: object) -> str:
    raise ConversionError("The file is empty.", code="empty_file", hint="Send one with content.")


def break_down(given: ConversionInput, _: ReportProgress) -> str:
    raise ValueError(f"could not parse {given.path}")


def hang(_: ConversionInput, report: ReportProgress) -> str:
    report(0.1, "parsing", "begun")
    time.sleep(60)
    return ""


def spin(*_: object) -> str:
    while True:
        pass


def hold_the_lock(*_: object) -> str:
    ctypes.PyDLL(None).sleep(60)  # a C extension that never lets another thread run
    return ""


def keep_reporting(_: ConversionInput, report: ReportProgress) -> str:
    step = 0
    while True:
        step += 1
        report(min(1.0, step / 10_000_000), "parsing", f"step {step}")


def crash(*_: object) -> str:
    ctypes.string_at(0)
    return ""


def leave(*_: object) -> str:
    os._exit(3)


def eat_memory(*_: object) -> str:
    kept = [os.urandom(1024) * 8192]
    while True:
        kept.append(bytes(kept[0]) + b"x")
        time.sleep(0.002)


def fill_the_disk(given: ConversionInput, _: ReportProgress) -> str:
    number = 0
    while True:
        number += 1
        (given.work_dir / str(number)).write_bytes(bytes(2**20))
        time.sleep(0.01)


def let_child_eat_memory(*_: object) -> str:
    if os.fork() == 0:
        os.setsid()
        eat_memory()
    time.sleep(60)
    return ""


def run_out_of_memory(*_: object) -> str:
    return "x" * (1 << 60)


def hide(given: ConversionInput, report: ReportProgress) -> str:
    """Leaves a process behind that belongs to another session and another parent."""
    mark = str(given.options["mark"])
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", mark])  # noqa: S606 - as is
        os._exit(0)
    report(0.5, "hidden", mark)
    if given.options.get("stay"):
        time.sleep(60)
    return ""


def chatter(*_: object) -> str:
    for _number in range(20_000):
        print("what a library prints", "x" * 50)  # noqa: T201 - the act
    subprocess.run(["/bin/echo", "not an answer"], check=True)
    _answers(b"garbage\n\xff\xfe\n{}\n[1,2\n" + b"x" * 1_000_000 + b"\n")
    return "still fine"


def flood(*_: object) -> str:
    line = b'{"kind":"progress","fraction":0.5,"stage":"x","message":"y"}\n' * 1000
    while True:
        _answers(line)


def lie(given: ConversionInput, _: ReportProgress) -> str:
    """Says it is done and leaves something else than a document."""
    left = given.work_dir / "document.json"
    kind = given.options["left"]
    if kind == "garbage":
        left.write_bytes(b'{"markdown": 5')
    elif kind == "link":
        left.symlink_to(str(given.options["secret"]))
    elif kind == "pipe":
        os.mkfifo(left)
    elif kind == "swapped":
        given.work_dir.rmdir()
        given.work_dir.symlink_to(Path(str(given.options["secret"])).parent)
    _answers(b'{"kind":"done"}\n')
    time.sleep(60)
    return ""


def speak_later(given: ConversionInput, _: ReportProgress) -> str:
    if os.fork() == 0:
        time.sleep(0.2)
        _answers(b'{"kind":"done"}\n')
        os._exit(0)
    return identify(given, _)


def reach(given: ConversionInput, _: ReportProgress) -> str:
    """Tries what a converter has no business with; what came of each attempt."""
    path = Path(str(given.options["secret"]))
    source = _source(given)
    attempts = {
        "read": path.read_text,
        "list": lambda: os.listdir(path.parent),  # noqa: PTH208 - the call itself
        "write": lambda: (path.parent / "planted").write_text("x"),
        "truncate": lambda: os.truncate(path, 0),
        "delete": path.unlink,
        "write input": lambda: source.write_text("x"),
        "truncate input": lambda: os.truncate(source, 0),
        "link input": lambda: os.link(source, given.work_dir / "second"),
        "write beside": lambda: (given.work_dir.parents[1] / "planted").write_text("x"),
        "environment of the server": lambda: Path(f"/proc/{given.options['server']}/environ").read_bytes(),
        "signal the server": lambda: os.kill(int(str(given.options["server"])), signal.SIGCONT),
        "make a namespace": make_namespace,
        "connect": lambda: socket.create_connection(("127.0.0.1", int(str(given.options["port"]))), timeout=2),
        "resolve": lambda: socket.getaddrinfo("example.org", 80),
        "datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
        "local socket": lambda: socket.socket(socket.AF_UNIX).connect(str(given.options["unix"])),
        "work": lambda: (given.work_dir / "mine").write_text("x"),
    }
    return json.dumps({name: _outcome(attempt) for name, attempt in attempts.items()})


def make_namespace() -> None:
    """clone(CLONE_NEWUSER), which no filter on numbers tells from starting a thread."""
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    library = ctypes.CDLL(None, use_errno=True)
    made = library.syscall(number, 0x10000000 | signal.SIGCHLD, None, None, None, None)
    if made == 0:
        os._exit(0)
    if made < 0:
        raise OSError(ctypes.get_errno(), "clone")


def tamper(given: ConversionInput, _: ReportProgress) -> str:
    _source(given).chmod(0)
    Path(str(given.options["secret"])).chmod(0)
    os.utime(_source(given), (0, 0))
    return ""


def resist(given: ConversionInput, _: ReportProgress) -> str:
    """Leaves folders that are hard to delete."""
    os.mkdir(given.work_dir / "closed", 0)  # noqa: PTH102 - as is
    os.chdir(given.work_dir)
    for _number in range(2000):
        os.mkdir("deeper")  # noqa: PTH102 - the whole path would be too long
        os.chdir("deeper")
    Path("file").write_text("x", encoding="utf-8")
    os.chdir(given.work_dir)
    return ""


def _source(given: ConversionInput) -> Path:
    assert given.path is not None
    return given.path


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "done"


def _answers(raw: bytes) -> None:
    """Write where the child's answers go, past every redirection."""
    for descriptor in range(3, 16):
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.write(descriptor, raw)
        except OSError:
            continue
