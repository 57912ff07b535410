"""Artifacts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from mlflow_grpc._aio.transfers import AsyncTransfers
from mlflow_grpc._calls import runs
from mlflow_grpc._config import Deadline
from mlflow_grpc._entities import Artifact
from mlflow_grpc._files import content
from mlflow_grpc._files.plan import Source, source_of_content, source_of_file, sources_in
from mlflow_grpc._files.progress import ProgressOption
from mlflow_grpc._files.receiving import Arrival


class AsyncArtifactMethods(AsyncTransfers):
    """The methods that move files.

    Each file becomes visible whole, with its SHA-256 checked by the server and by the client.
    While the server is UNAVAILABLE they wait for up to a minute and go on where they were cut
    off, unless `ClientConfig.retry_attempts` is 1.
    """

    async def log_artifact(
        self,
        run_id: str,
        local_path: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        progress: ProgressOption = None,
        timeout: float | None = None,
    ) -> Artifact:
        """Logs a file, under its own name in the folder `artifact_path`.

        `run_id` may also be the URI of a logged model, `models:/m-...`. `progress` is a callback
        that gets `Progress`, from any thread, or whether to show a bar on stderr: by default only
        for much, on a terminal, with the extra `cli`. `timeout` is in seconds, by default none.

        What is added to the file meanwhile is left out.

        Raises `NotFoundError` if there is no such run, `FailedPreconditionError` if it is deleted
        or a folder is in the way, `ResourceExhaustedError` if the server's disk is full,
        `DataLossError` if the file was damaged on its way, `OSError` if it cannot be read
        or becomes shorter meanwhile.
        """
        source = await asyncio.to_thread(source_of_file, local_path, artifact_path)
        return (await self._upload(run_id, [source], progress, timeout))[0]

    async def log_artifacts(
        self,
        run_id: str,
        local_dir: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        progress: ProgressOption = None,
        timeout: float | None = None,
    ) -> list[Artifact]:
        """Logs every file in a folder and below it, in the folder `artifact_path`.

        Links count as what they lead to; empty folders are left out. Otherwise as `log_artifact`;
        also raises `ValueError` for what is no regular file and for a link that leads back.
        """
        sources = await asyncio.to_thread(sources_in, local_dir, artifact_path)
        return await self._upload(run_id, sources, progress, timeout) if sources else []

    async def log_text(
        self, run_id: str, text: str, artifact_file: str, *, timeout: float | None = None
    ) -> Artifact:
        """Logs text as the file `artifact_file`, in UTF-8."""
        return await self._log_content(run_id, content.of_text(text), artifact_file, timeout)

    async def log_dict(
        self, run_id: str, dictionary: Any, artifact_file: str, *, timeout: float | None = None
    ) -> Artifact:
        """Logs a dict or list as the file `artifact_file`: YAML if it is so named, else JSON."""
        data = await asyncio.to_thread(content.of_dict, dictionary, artifact_file)
        return await self._log_content(run_id, data, artifact_file, timeout)

    async def log_figure(
        self,
        run_id: str,
        figure: Any,
        artifact_file: str,
        *,
        save_kwargs: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Artifact:
        """Logs a figure of matplotlib or plotly, in the format that `artifact_file` ends with.

        `save_kwargs` go to the library. Raises `TypeError` for what is no figure.
        """
        data = await asyncio.to_thread(content.of_figure, figure, artifact_file, save_kwargs)
        return await self._log_content(run_id, data, artifact_file, timeout)

    async def log_image(
        self,
        run_id: str,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
        *,
        timeout: float | None = None,
    ) -> Artifact:
        """Logs an image of Pillow or MLflow, or an array of (height, width[, 1, 3 or 4]).

        It becomes the file `artifact_file` or, with a `key`, an image of step `step` (default 0)
        and time `timestamp` (milliseconds since the epoch, default now), which MLflow's UI shows
        beside those of other steps. Whole numbers of an array are 0 to 255 and floats 0 to 1.

        Raises `TypeError` and `ValueError` for what is no image.
        """
        files = await asyncio.to_thread(
            content.of_image, image, artifact_file, key, step, timestamp
        )
        sources = [source_of_content(data, path) for path, data in files.items()]
        stored = await self._upload(run_id, sources, None, timeout)
        if key is not None:
            await self._call(runs.set_tag(run_id, "mlflow.loggedImages", True), timeout)
        return stored[0]

    async def download_artifacts(
        self,
        run_id: str,
        path: str = "",
        dst_path: str | os.PathLike[str] | None = None,
        *,
        progress: ProgressOption = None,
        timeout: float | None = None,
    ) -> str:
        """Downloads a file or a folder with all that is in it, by default everything.

        `run_id` may also be a `models:/...` URI. Returns where it is on this machine: `path` below
        `dst_path`, by default below a new temporary folder. `progress` and `timeout` as in
        `log_artifact`.

        Raises `NotFoundError` if there is no such run or path, `DataLossError` if a file was
        damaged on its way, `OSError` if it cannot be written.
        """
        pages = self.list_artifacts(run_id, path, recursive=True, page_size=10_000)
        listed = [artifact async for artifact in pages]
        arrival = await asyncio.to_thread(Arrival, listed, path, dst_path)
        if arrival.files:
            with arrival.filling():
                await self._download(run_id, arrival.files, arrival.folder, progress, timeout)
        return str(arrival.place)

    async def read_artifact(
        self,
        run_id: str,
        path: str,
        offset: int = 0,
        length: int | None = None,
        *,
        timeout: float | None = None,
    ) -> bytes:
        """The bytes of a file, or `length` of them from `offset`.

        Raises `NotFoundError` if there is no such file, `OutOfRangeError` for an offset beyond
        its end, `DataLossError` if it was damaged on its way.
        """
        return await self._read(run_id, path, offset, length, Deadline(timeout))

    async def _log_content(
        self, run_id: str, data: bytes, artifact_file: str, timeout: float | None
    ) -> Artifact:
        source: Source = source_of_content(data, artifact_file)
        return (await self._upload(run_id, [source], None, timeout))[0]
