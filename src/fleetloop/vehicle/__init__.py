"""On board: drive by the policy through the safety layer, notice what is worth its bytes, record, update."""
