"""The simulated world: roads, traffic, signals, weather and cameras; the demonstrator and the safety driver."""
