"""The blocking client."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType

from mlflow_grpc._config import ClientConfig
from mlflow_grpc._environment import REQUIREMENTS_FILE, Environment, capture
from mlflow_grpc._errors import AlreadyExistsError, MlflowGrpcError
from mlflow_grpc._forks import check_process
from mlflow_grpc._lifecycle import DEFAULT_EXPERIMENT_ID, check_one_experiment, no_experiment
from mlflow_grpc._stream.entities import StreamStats
from mlflow_grpc._stream.errors import MetricsNotStoredError
from mlflow_grpc._sync.active_run import ActiveRun
from mlflow_grpc._sync.artifacts import ArtifactMethods
from mlflow_grpc._sync.comparison import ComparisonMethods
from mlflow_grpc._sync.datasets import DatasetMethods
from mlflow_grpc._sync.experiments import ExperimentMethods
from mlflow_grpc._sync.registry import RegistryMethods
from mlflow_grpc._sync.runs import RunMethods
from mlflow_grpc._sync.serving import ServingMethods
from mlflow_grpc._sync.status import StatusMethods

_log = logging.getLogger("mlflow_grpc")


class Client(
    ExperimentMethods,
    RunMethods,
    ArtifactMethods,
    ComparisonMethods,
    DatasetMethods,
    RegistryMethods,
    ServingMethods,
    StatusMethods,
):
    """A client of mlflow-grpc that blocks. `AsyncClient` is the same for asyncio.

        with Client("127.0.0.1:50051") as client:
            with client.start_run(experiment_name="vision") as run:
                run.log_metric("loss", 0.1, step=1)

    `target` is `host:port`, or any other name that gRPC resolves, such as `dns:///host:port`.
    Connecting happens in the background and again as needed; nothing is sent before the first
    call. A client may be shared by threads, and not by processes: in a forked child it raises
    `RuntimeError`, and a new one can be made there unless gRPC is broken by the fork, which
    raises `RuntimeError` too.

    Every method that calls the server takes `timeout`, in seconds: by default
    `ClientConfig.timeout`, and `math.inf` for none. It raises a subclass of `MlflowGrpcError`
    when the call fails: beside those that stand at the method, `InvalidArgumentError`,
    `UnavailableError`, `DeadlineExceededError` and `ResourceExhaustedError`. Calls that are safe
    to repeat are repeated, within the timeout, while the server is UNAVAILABLE. A closed client
    raises `RuntimeError`.
    """

    def __init__(self, target: str, *, config: ClientConfig | None = None) -> None:
        super().__init__(target, config or ClientConfig())

    def start_run(
        self,
        experiment_id: str | None = None,
        *,
        experiment_name: str | None = None,
        run_name: str | None = None,
        tags: Mapping[str, object] | None = None,
        description: str | None = None,
        start_time: int | None = None,
        capture_environment: bool = False,
        timeout: float | None = None,
    ) -> ActiveRun:
        """Starts a run, to be used in a `with` block that ends it, or until `ActiveRun.end`.

        The experiment is given by its id or by its name, by default "0", which every store has;
        a name that does not exist is created. `start_time` is in milliseconds since the epoch,
        by default now. `timeout` is in seconds, for each of the up to four calls.

        `capture_environment` records what the run is made with: user, program, command line, git
        commit, branch, URL and whether files differ from it, Python and platform as tags, and
        packages as `environment/requirements.txt`. Never the value of an environment variable,
        nor of an option that looks like a secret.

        Raises `NotFoundError` if there is no experiment of that id, `FailedPreconditionError`
        if it is deleted, `ValueError` if both id and name are given.
        """
        check_one_experiment(experiment_id, experiment_name)
        if experiment_name is not None:
            experiment_id = self._id_of_experiment(experiment_name, timeout)
        captured = capture() if capture_environment else Environment()
        run = self.create_run(
            DEFAULT_EXPERIMENT_ID if experiment_id is None else experiment_id,
            start_time,
            {**captured.tags, **(tags or {})},
            run_name,
            description,
            timeout=timeout,
        )
        started = ActiveRun(self, run)
        if captured.requirements:
            try:
                self.log_text(
                    run.info.run_id, captured.requirements, REQUIREMENTS_FILE, timeout=timeout
                )
            except MlflowGrpcError:
                # The run itself matters more.
                _log.warning("could not log %s", REQUIREMENTS_FILE, exc_info=True)
        return started

    def _id_of_experiment(self, name: str, timeout: float | None) -> str:
        found = self.get_experiment_by_name(name, timeout=timeout)
        if found is None:
            try:
                return self.create_experiment(name, timeout=timeout)
            except AlreadyExistsError:
                # Another trainer of the same job was first.
                found = self.get_experiment_by_name(name, timeout=timeout)
        if found is None:
            raise no_experiment(name)
        return found.experiment_id

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """Waits until the client is connected to the server, for up to `timeout` seconds.

        Raises `DeadlineExceededError` if it is not by then.
        """
        self._wait_until_ready(timeout)

    def flush(self, timeout: float | None = None) -> None:
        """Returns when every point that the client's runs have logged so far is stored.

        `timeout` is in seconds, by default `StreamConfig.flush_timeout`, and `math.inf` for none.

        Raises `MetricsNotStoredError`, which says what is not stored, and why. What was rejected
        or lost is told once; what is not stored in time is tried on.
        """
        check_process(self._pid)
        self._finish(self._engine.flush(None), timeout)

    @property
    def stats(self) -> StreamStats:
        """How the client's stream of metrics is doing."""
        check_process(self._pid)
        return self._engine.stats()

    def close(self, timeout: float | None = None) -> None:
        """Flushes, as `flush` does, and closes the connection. In a forked child: does nothing.

        Calls in flight end with `CallCancelledError`. Raises what `flush` raises, when
        everything is closed; points that are not stored by then are lost.
        """
        self._close(timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            # What the end of a run has waited for in vain, nobody waits for again.
            self.close(0 if isinstance(error, MetricsNotStoredError) else None)
        except MetricsNotStoredError:
            if error is None:
                raise
            # What went wrong in the block matters more, and is on its way to the caller.
            _log.warning("could not store every metric", exc_info=True)
