"""Whether one content type can be converted here: its converters are imported, in a process that may crash of it.

`python -m morag.worker.remote.trial image` ends with 0, or with 1 and a reason on its last line.
"""

import importlib
import sys

from morag.domain.content import ContentType
from morag.pipeline.conversion.registry import FORMATS, available, install_command, missing


def main(content_type: ContentType) -> int:
    """Import all that converts this type; the exit status."""
    for entry in FORMATS:
        if entry.content_type is not content_type:
            continue
        if not available(entry):
            sys.stdout.write(f"{', '.join(missing(entry))} not installed; run: {install_command(entry)}\n")
            return 1
        for module in (entry.converter.partition(":")[0], *entry.needs):
            importlib.import_module(module)
    return 0


if __name__ == "__main__":
    sys.exit(main(ContentType(sys.argv[1])))
