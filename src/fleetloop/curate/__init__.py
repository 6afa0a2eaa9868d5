"""Episodes -> Dataset: which moments teach, how much each counts, and why it is there."""
