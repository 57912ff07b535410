"""Files of runs and models: chunk streams to and from folders and artifact repositories.

Everything here blocks, and knows no grpc types.
"""
