"""`python -m budkavle`."""

from budkavle.commands.cli import main

main()
