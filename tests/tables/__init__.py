"""Tests of tables/."""
