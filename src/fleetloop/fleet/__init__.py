"""On the ground: ingest of what vehicles upload; campaigns and staged rollouts will live here."""
