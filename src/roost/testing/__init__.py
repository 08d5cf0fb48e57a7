"""Test doubles; imported by tests only."""
