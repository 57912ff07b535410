"""Models for the tests of serving, and the tests."""
