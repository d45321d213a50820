"""`python -m harness` is `phonebench`."""

from harness.cli import main

main()
