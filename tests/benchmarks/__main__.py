"""The command `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Sequence

from tests.benchmarks.report import machine


def _calls(*, quick: bool) -> str:
    from tests.benchmarks.calls import measure_calls

    return measure_calls(quick=quick)


def _streams(*, quick: bool) -> str:
    from tests.benchmarks.streams import measure_streams

    return measure_streams(quick=quick)


def _artifacts(*, quick: bool) -> str:
    from tests.benchmarks.artifacts import measure_artifacts

    return measure_artifacts(quick=quick)


def _serving(*, quick: bool) -> str:
    from tests.benchmarks.serving import measure_serving

    return measure_serving(quick=quick)


# Each imports what it measures when it runs: MLflow reads the environment when it is imported.
_SECTIONS: dict[str, tuple[str, Callable[..., str]]] = {
    "calls": ("Single calls", _calls),
    "streams": ("Streamed metrics", _streams),
    "artifacts": ("Artifacts", _artifacts),
    "serving": ("Serving", _serving),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each section and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of: {', '.join(_SECTIONS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few runs and calls: shows that it works, no more"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(_SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "_MLFLOW_"))]:
        del os.environ[name]
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logging.getLogger("alembic").setLevel(logging.WARNING)

    load_before = os.getloadavg()[0]
    for name in options.sections or _SECTIONS:
        title, measure = _SECTIONS[name]
        print(f"## {title}", measure(quick=options.quick), sep="\n\n", end="\n\n", flush=True)
    print(machine(load_before))


if __name__ == "__main__":
    main()
