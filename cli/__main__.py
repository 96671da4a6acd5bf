"""`python -m cli` is `placet`."""

from cli.main import main

main()
