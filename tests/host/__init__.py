"""Tests of host/."""
