"""Tests of the client that need more than it does: numpy and pandas."""
