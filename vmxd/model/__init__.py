"""What the values mean: pure, from facts to answers."""
