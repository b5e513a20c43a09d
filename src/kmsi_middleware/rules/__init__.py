"""Layer 1: the rules. Pure functions and data; the clock and the dice are handed in."""
