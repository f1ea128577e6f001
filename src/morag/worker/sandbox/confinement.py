"""What a conversion child may do: it binds itself with this before it reads a byte of anybody's input.

Layers, each worth something alone: limits of the operating system (everywhere), and on Linux namespaces (no network, a
process table that dies as one), Landlock (files), and a filter on system calls (no sockets, no tampering).
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from morag.worker.sandbox import kernel, landlock, namespaces, seccomp

NICENESS = 5
OOM_SCORE = 500
"""The kernel's choice when memory runs out: a child, not the server; -1000 to 1000."""
OPEN_FILES = 1024
PROCESSES = 1024

SYSTEM_FOLDERS = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/nix/store")
SYSTEM_FILES = (
    *("/etc/ld.so.cache", "/etc/fonts", "/etc/mime.types", "/etc/localtime", "/etc/alternatives"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki/tls/certs", "/etc/pki/ca-trust"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/sys/vm"),
    *("/proc/driver", "/proc/devices", "/proc/modules", "/sys/devices", "/sys/class", "/sys/bus", "/sys/module"),
)
NETWORK_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/services",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/dri", "/dev/kfd")
ACCELERATORS = "nvidia*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Which layers hold, here."""

    landlock: int
    """The ABI version of Landlock; 0: none."""
    seccomp: bool
    namespaces: bool

    @property
    def input_is_safe(self) -> bool:
        """Whether a child given a second name of a file can only read it: then no copy is needed."""
        return self.landlock >= 3 and self.seccomp


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one child is bound to; travels on its command line as JSON."""

    parent_pid: int
    inbox: str
    """Folder of the input: read only."""
    work: str
    """The one folder it may write in."""
    read_only: tuple[str, ...]
    """Libraries and models."""
    network: bool
    required: Layers | None
    """Layers known to work on this machine: it ends rather than going on without them."""
    file_bytes: int
    """Largest file it may write."""

    def encode(self) -> str:
        """As one argument."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, argument: str) -> "Bounds":
        """From one argument of the parent."""
        fields = json.loads(argument)
        required = fields.pop("required")
        read_only = tuple(fields.pop("read_only"))
        return cls(**fields, read_only=read_only, required=Layers(**required) if required else None)


def confine(bounds: Bounds) -> Layers:
    """Bind this process and all it will start; for a process with one thread. Returns what holds.

    May go on in a forked process. Raises OSError where a required layer cannot be had.
    """
    _limit(bounds)
    if not sys.platform.startswith("linux"):
        return Layers(landlock=0, seccomp=False, namespaces=False)
    kernel.die_with_parent(signal.SIGKILL, bounds.parent_pid)
    with suppress(OSError):  # not permitted in some containers, and only a hint
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    has_namespaces = namespaces.enter(network=bounds.network)
    if has_namespaces:
        namespaces.become_first()
        # counted per namespace there; elsewhere it would count all the processes of the user
        _lower(resource.RLIMIT_NPROC, PROCESSES)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    return Layers(landlock=_restrict_files(bounds), seccomp=_filter_calls(bounds), namespaces=has_namespaces)


def readable() -> tuple[str, ...]:
    """What a child of this program reads besides the system's own: the interpreter and its libraries."""
    source = Path(__file__).resolve().parents[2]
    libraries = [entry for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    return tuple(dict.fromkeys((sys.prefix, sys.base_prefix, str(source), *libraries)))


def _limit(bounds: Bounds) -> None:
    os.nice(NICENESS)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    _lower(resource.RLIMIT_FSIZE, bounds.file_bytes)


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _restrict_files(bounds: Bounds) -> int:
    version = landlock.abi()
    if version:
        landlock.restrict(_rules(bounds, version), version=version, network=bounds.network)
    if bounds.required and version < bounds.required.landlock:
        raise OSError("Landlock was here when the server started, and is not now")
    return version


def _filter_calls(bounds: Bounds) -> bool:
    try:
        seccomp.restrict(network=bounds.network)
    except (OSError, KeyError):
        if bounds.required and bounds.required.seccomp:
            raise
        return False
    return True


def _rules(bounds: Bounds, version: int) -> Iterator[tuple[Path, int]]:
    for name in (*SYSTEM_FOLDERS, *bounds.read_only):
        yield Path(name), landlock.PROGRAMS
    for name in (*SYSTEM_FILES, *(NETWORK_FILES if bounds.network else ()), bounds.inbox):
        yield Path(name), landlock.READ
    for path in (*map(Path, DEVICES), *Path("/dev").glob(ACCELERATORS)):
        yield path, landlock.DEVICES
    yield Path(bounds.work), landlock.own_folder(version)
