"""From a Checkpoint with a passing Report to a signed Bundle that vehicles accept."""
