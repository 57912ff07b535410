"""Deployed models: where they run, how they are called, and what becomes of them."""
