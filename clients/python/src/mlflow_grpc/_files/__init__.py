"""Files on this machine, on their way to and from the artifacts of runs and models."""
