"""Streams metrics in the background: one engine for the blocking and the asyncio client."""
