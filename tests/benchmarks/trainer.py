"""A training process that does nothing but log: `python -m tests.benchmarks.trainer`.

It prints its run, waits for a line on stdin, logs its points through the client, and prints a line
of JSON; as often as it is told to. Every time it logs the same points.
"""

from __future__ import annotations

import json
import sys
import time

from mlflow_grpc import ActiveRun, Client

_TIMESTAMP = 1_700_000_000_000


def main() -> None:
    """Log points of one metric to one run, and say how long it took and what a call cost."""
    address, number, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with Client(address) as client, client.start_run() as run:
        print(run.run_id, flush=True)
        for _ in range(times):
            sys.stdin.readline()
            print(json.dumps(_log(run, number)), flush=True)


def _log(run: ActiveRun, number: int) -> dict[str, float]:
    costs = []
    now = time.perf_counter_ns
    started = before = now()
    for step in range(number):
        run.log_metric("loss", step / 7, _TIMESTAMP + step, step)
        after = now()
        costs.append(after - before)
        before = after
    run.flush()
    seconds = (now() - started) / 1e9
    costs.sort()
    return {"seconds": seconds, "call_p50_us": costs[len(costs) // 2] / 1000}


if __name__ == "__main__":
    main()
