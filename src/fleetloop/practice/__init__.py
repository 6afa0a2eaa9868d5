"""Practice: the network drives while it learns, and the demonstrator says what it should have done."""
