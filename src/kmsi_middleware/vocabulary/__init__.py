"""Layer 0: the words that every other layer speaks. Settings, errors, effects, requests and replies; no I/O."""
