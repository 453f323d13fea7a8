"""The test suite: real recordings through the whole program, each module on its own, and the real tools around it."""
