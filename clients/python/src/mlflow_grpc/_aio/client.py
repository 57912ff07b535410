"""The asyncio client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import TracebackType

from mlflow_grpc._aio.active_run import AsyncActiveRun, StartingRun
from mlflow_grpc._aio.artifacts import AsyncArtifactMethods
from mlflow_grpc._aio.comparison import AsyncComparisonMethods
from mlflow_grpc._aio.datasets import AsyncDatasetMethods
from mlflow_grpc._aio.experiments import AsyncExperimentMethods
from mlflow_grpc._aio.registry import AsyncRegistryMethods
from mlflow_grpc._aio.runs import AsyncRunMethods
from mlflow_grpc._aio.serving import AsyncServingMethods
from mlflow_grpc._aio.status import AsyncStatusMethods
from mlflow_grpc._config import ClientConfig
from mlflow_grpc._environment import REQUIREMENTS_FILE, Environment, capture
from mlflow_grpc._errors import AlreadyExistsError, MlflowGrpcError
from mlflow_grpc._forks import check_process
from mlflow_grpc._lifecycle import DEFAULT_EXPERIMENT_ID, check_one_experiment, no_experiment
from mlflow_grpc._stream.entities import StreamStats
from mlflow_grpc._stream.errors import MetricsNotStoredError

_log = logging.getLogger("mlflow_grpc")

_log = logging.getLogger("mlflow_grpc")


class AsyncClient(
    AsyncExperimentMethods,
    AsyncRunMethods,
    AsyncArtifactMethods,
    AsyncComparisonMethods,
    AsyncDatasetMethods,
    AsyncRegistryMethods,
    AsyncServingMethods,
    AsyncStatusMethods,
):
    """A client of mlflow-grpc for asyncio. `Client` is the same, blocking.

        async with AsyncClient("127.0.0.1:50051") as client:
            async with client.start_run(experiment_name="vision") as run:
                await run.log_metric("loss", 0.1, step=1)

    `target` is `host:port`, or any other name that gRPC resolves, such as `dns:///host:port`.
    Connecting happens in the background and again as needed; nothing is sent before the first
    call. A client belongs to the event loop it was made in, and to its process: in a
    forked child it raises `RuntimeError`, and no new client can be made there, as gRPC for
    asyncio does not survive a fork.

    Every method that calls the server takes `timeout`, in seconds: by default
    `ClientConfig.timeout`, and `math.inf` for none. It raises a subclass of `MlflowGrpcError`
    when the call fails: beside those that stand at the method, `InvalidArgumentError`,
    `UnavailableError`, `DeadlineExceededError` and `ResourceExhaustedError`. Calls that are safe
    to repeat are repeated, within the timeout, while the server is UNAVAILABLE. A closed client
    raises `RuntimeError`. Methods that search return asynchronous iterators: `async for`, without
    `await`.
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
    ) -> StartingRun:
        """Starts a run, in an `async with` block that ends it, or with `await`, until
        `AsyncActiveRun.end`.

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

        async def start() -> AsyncActiveRun:
            chosen = experiment_id
            if experiment_name is not None:
                chosen = await self._id_of_experiment(experiment_name, timeout)
            captured = await asyncio.to_thread(capture) if capture_environment else Environment()
            run = await self.create_run(
                DEFAULT_EXPERIMENT_ID if chosen is None else chosen,
                start_time,
                {**captured.tags, **(tags or {})},
                run_name,
                description,
                timeout=timeout,
            )
            started = AsyncActiveRun(self, run)
            if captured.requirements:
                try:
                    await self.log_text(
                        run.info.run_id, captured.requirements, REQUIREMENTS_FILE, timeout=timeout
                    )
                except MlflowGrpcError:
                    # The run itself matters more.
                    _log.warning("could not log %s", REQUIREMENTS_FILE, exc_info=True)
            return started

        return StartingRun(start)

    async def _id_of_experiment(self, name: str, timeout: float | None) -> str:
        found = await self.get_experiment_by_name(name, timeout=timeout)
        if found is None:
            try:
                return await self.create_experiment(name, timeout=timeout)
            except AlreadyExistsError:
                # Another trainer of the same job was first.
                found = await self.get_experiment_by_name(name, timeout=timeout)
        if found is None:
            raise no_experiment(name)
        return found.experiment_id

    async def wait_until_ready(self, timeout: float | None = None) -> None:
        """Waits until the client is connected to the server, for up to `timeout` seconds.

        Raises `DeadlineExceededError` if it is not by then.
        """
        await self._wait_until_ready(timeout)

    async def flush(self, timeout: float | None = None) -> None:
        """Returns when every point that the client's runs have logged so far is stored.

        `timeout` is in seconds, by default `StreamConfig.flush_timeout`, and `math.inf` for none.

        Raises `MetricsNotStoredError`, which says what is not stored, and why. What was rejected
        or lost is told once; what is not stored in time is tried on.
        """
        check_process(self._pid)
        await self._finish(self._engine.flush(None), timeout)

    @property
    def stats(self) -> StreamStats:
        """How the client's stream of metrics is doing."""
        check_process(self._pid)
        return self._engine.stats()

    async def close(self, timeout: float | None = None) -> None:
        """Flushes, as `flush` does, and closes the connection. In a forked child: does nothing.

        Calls in flight end with asyncio.CancelledError. Raises what `flush` raises, when
        everything is closed; points that are not stored by then are lost.
        """
        await self._close(timeout)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            # What the end of a run has waited for in vain, nobody waits for again.
            await self.close(0 if isinstance(error, MetricsNotStoredError) else None)
        except MetricsNotStoredError:
            if error is None:
                raise
            # What went wrong in the block matters more, and is on its way to the caller.
            _log.warning("could not store every metric", exc_info=True)
