"""A program that binds itself as a conversion child does and says, as JSON, what holds; started by the probe.

Apart from it, so that it imports next to nothing: it runs at each start of a server.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from morag.worker.sandbox.confinement import Bounds, confine


def main(arguments: Sequence[str]) -> None:
    """Bind this process and print what holds."""
    layers = confine(Bounds.decode(arguments[0]))
    sys.stdout.write(json.dumps(asdict(layers)))
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
