"""The last limits on any plan; nothing here is learned."""
