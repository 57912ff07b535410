"""The servicers: convert, call, convert."""
