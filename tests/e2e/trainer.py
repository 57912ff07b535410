"""A training process: `python -m tests.e2e.trainer HOST:PORT RUN_ID POINTS FLUSH_EVERY`.

It logs points whose values and times follow from their steps, so that two trainers of a run log
the same points. After every so many it flushes, and prints how many are flushed.
"""

from __future__ import annotations

import sys

from mlflow_grpc import ActiveRun, Client, ClientConfig, Run, StreamConfig, UnavailableError

__all__ = ["expected_rows"]

_TIMESTAMP = 1_700_000_000_000


def expected_rows(points: int) -> list[tuple[str, float, int, int]]:
    """What is stored of so many points: key, value, timestamp and step, by step."""
    return [("loss", step / 7, _TIMESTAMP + step, step) for step in range(points)]


def main() -> None:
    """Log the points, and leave the run as it is."""
    address, run_id, points, flush_every = sys.argv[1:]
    stream = StreamConfig(max_backoff=0.5, flush_timeout=600, stall_timeout=5)
    with Client(address, config=ClientConfig(timeout=600, stream=stream)) as client:
        run = ActiveRun(client, get_run(client, run_id))
        for key, value, timestamp, step in expected_rows(int(points)):
            run.log_metric(key, value, step, timestamp)
            if (step + 1) % int(flush_every) == 0:
                run.flush()
                print(step + 1, flush=True)
        run.flush()
        print(run.stats, flush=True)


def get_run(client: Client, run_id: str) -> Run:
    """The run, once the server, which the tests kill at random moments, is there to tell."""
    while True:
        try:
            return client.get_run(run_id)
        except UnavailableError:
            client.wait_until_ready(60)


if __name__ == "__main__":
    main()
