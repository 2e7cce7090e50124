"""`python -m budkavle`."""

from budkavle.cli import main

main()
