"""What each method calls, with what, and what becomes of the response. Pure: no channel."""
