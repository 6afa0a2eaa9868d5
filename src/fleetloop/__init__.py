"""fleetloop closes the loop of real-world AI: drive, curate, train, evaluate, release."""

__version__ = "0.1.0"
