"""What the server's unit tests share."""

from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does, and fails no test.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.load_profile("patient")
