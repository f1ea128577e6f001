"""What this machine can enforce on a conversion child, found out by doing it; for the sandbox and `morag doctor`."""

import json
import os
import subprocess
import sys
import tempfile

from morag.telemetry import log
from morag.worker.sandbox.confinement import Bounds, Layers, readable

PROBE_S = 20.0
NOTHING = Layers(landlock=0, seccomp=False, namespaces=False)


def probe() -> Layers:
    """Let a process bind itself as a child does, and say what holds. Blocks for some 0.1 s."""
    with tempfile.TemporaryDirectory(prefix="morag-probe-") as folder:
        bounds = Bounds(
            parent_pid=os.getpid(),
            inbox=folder,
            work=folder,
            read_only=readable(),
            network=False,
            required=None,
            file_bytes=1024,
        )
        command = [sys.executable, "-s", "-P", "-B", "-m", "morag.worker.sandbox.bound", bounds.encode()]
        try:
            done = subprocess.run(command, capture_output=True, timeout=PROBE_S, check=True, env={}, cwd=folder)  # noqa: S603 - this program
            return Layers(**json.loads(done.stdout))
        except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
            log.warning("confinement_unknown", reason=type(error).__name__)
            return NOTHING


def describe(layers: Layers) -> list[tuple[str, bool, str]]:
    """What is enforced: subject, whether the kernel enforces it, and what that means, for people."""
    return [_files(layers), _network(layers), _processes(layers)]


def _files(layers: Layers) -> tuple[str, bool, str]:
    if layers.landlock:
        return (
            "files",
            True,
            f"conversions read libraries and their one input, write in one folder (Landlock {layers.landlock})",
        )
    return (
        "files",
        False,
        "no Landlock here: conversions could read what the server's user can; run it as a user of its own",
    )


def _network(layers: Layers) -> tuple[str, bool, str]:
    ways = [("a filter on system calls", layers.seccomp), ("a network of its own", layers.namespaces)]
    ways.append(("Landlock, TCP only", layers.landlock >= 4))
    held = [way for way, holds in ways if holds]
    if held:
        return "network", True, f"conversions have no network ({', '.join(held)})"
    return "network", False, "conversions could open connections: keep what must not be reached behind a firewall"


def _processes(layers: Layers) -> tuple[str, bool, str]:
    if layers.namespaces:
        return "processes", True, "all a conversion starts ends with it (a process table of its own)"
    return "processes", False, "no namespaces here: conversions are ended by group, one that hides from it may stay"
