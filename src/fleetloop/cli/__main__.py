"""`python -m fleetloop.cli`."""

from fleetloop.cli import main

main()
