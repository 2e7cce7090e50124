"""`python -m mock_open_e`."""

from mock_open_e.program import main

main()
