"""`python -m morag` is the `morag` command."""

from morag.cli.main import main

main()
