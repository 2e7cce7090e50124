"""`python -m budkavle`."""

from budkavle.program import main

main()
