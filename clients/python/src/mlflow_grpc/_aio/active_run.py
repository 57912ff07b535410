"""A run that is being logged to."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any

from mlflow_grpc._aio.runs import AsyncRunMethods
from mlflow_grpc._aio.streaming import AsyncMetricStream
from mlflow_grpc._entities import DatasetInput, LoggedModelInput, Run, RunInfo
from mlflow_grpc._enums import RunStatus
from mlflow_grpc._lifecycle import outcome
from mlflow_grpc._stream.errors import MetricsNotStoredError

_log = logging.getLogger("mlflow_grpc")


class AsyncActiveRun(AsyncMetricStream):
    """A run that is being logged to; `AsyncClient.start_run` makes one.

    Metrics are streamed in the background, as `ClientConfig.stream` says; everything else is
    stored when the method returns, and raises what the client's method of that name raises.

    As a context manager it ends the run: FINISHED, FAILED if an exception leaves the block,
    KILLED if that is KeyboardInterrupt or asyncio.CancelledError. Without `async with`, call
    `end`.
    A block that a forked child leaves ends nothing.
    """

    def __init__(self, client: AsyncRunMethods, run: Run) -> None:
        super().__init__(client, run.info.run_id)
        self._client = client
        self._info = run.info
        self._ended = False

    @property
    def info(self) -> RunInfo:
        """What identifies the run, and where it stood when it was started or ended from here."""
        return self._info

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._info.run_id

    async def log_param(self, key: str, value: object) -> None:
        """Logs a param, as `str(value)`."""
        await self._client.log_param(self.run_id, key, value)

    async def log_params(self, params: Mapping[str, object]) -> None:
        """Logs params."""
        await self._client.log_params(self.run_id, params)

    async def set_tag(self, key: str, value: object) -> None:
        """Sets a tag, to `str(value)`."""
        await self._client.set_tag(self.run_id, key, value)

    async def set_tags(self, tags: Mapping[str, object]) -> None:
        """Sets tags."""
        await self._client.set_tags(self.run_id, tags)

    async def log_inputs(
        self, datasets: Iterable[DatasetInput] = (), models: Iterable[LoggedModelInput] = ()
    ) -> None:
        """Logs the datasets and models that the run uses."""
        await self._client.log_inputs(self.run_id, datasets, models)

    async def end(self, status: RunStatus | str | None = None, end_time: int | None = None) -> None:
        """Flushes, as `flush` does, and ends the run: FINISHED (the default), FAILED or KILLED.

        `end_time` is in milliseconds since the epoch, by default now. Once this has succeeded,
        leaving the `async with` block changes nothing.

        Raises what `flush` raises: with points that are still on their way, and then the run is
        not ended, or for points that will never be stored, after the run has been ended.
        """
        unstored = None
        try:
            await self.flush()
        except MetricsNotStoredError as error:
            if error.waiting:
                raise
            unstored = error
        self._info = (await self._client.end_run(self.run_id, status, end_time)).info
        self._ended = True
        if unstored is not None:
            raise unstored

    async def __aenter__(self) -> AsyncActiveRun:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ended or self._recorder.is_foreign:
            return
        try:
            await self.end(outcome(error))
        except Exception:
            if error is None:
                raise
            # What went wrong in the block matters more, and is on its way to the caller.
            _log.warning("could not end run %s", self.run_id, exc_info=True)


class StartingRun:
    """A run that is about to be started: `await` it, or enter it with `async with`.

    Nothing is sent before that. It starts one run, once.
    """

    def __init__(self, start: Callable[[], Awaitable[AsyncActiveRun]]) -> None:
        self._start = start
        self._run: AsyncActiveRun | None = None

    def __await__(self) -> Generator[Any, None, AsyncActiveRun]:
        return self._started().__await__()

    async def __aenter__(self) -> AsyncActiveRun:
        return await self._started()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run = await self._started()
        await run.__aexit__(kind, error, traceback)

    async def _started(self) -> AsyncActiveRun:
        if self._run is None:
            self._run = await self._start()
        return self._run
