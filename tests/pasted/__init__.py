"""Tests of pasted/."""
