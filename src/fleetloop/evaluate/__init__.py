"""Closed-loop evaluation: scenario suites, statistics, the gate and the page that people look at."""
