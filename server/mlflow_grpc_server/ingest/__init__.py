"""What runs log, on its way to the store: per-run lanes, group commit, acknowledgements."""
