"""Dataset and simulated world -> Checkpoint."""
