"""The artifacts of a run that is being logged to."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from mlflow_grpc._entities import Artifact, Dataset, RunInfo
from mlflow_grpc._files.progress import ProgressOption


class AsyncRunArtifacts:
    """The methods of an active run that move files: the client's, for this run."""

    _client: Any
    _info: RunInfo

    async def log_artifact(
        self,
        local_path: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        progress: ProgressOption = None,
    ) -> Artifact:
        """Logs a file, under its own name in the folder `artifact_path`."""
        stored: Artifact = await self._client.log_artifact(
            self._info.run_id, local_path, artifact_path, progress=progress
        )
        return stored

    async def log_artifacts(
        self,
        local_dir: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        progress: ProgressOption = None,
    ) -> list[Artifact]:
        """Logs every file in a folder and below it, in the folder `artifact_path`."""
        stored: list[Artifact] = await self._client.log_artifacts(
            self._info.run_id, local_dir, artifact_path, progress=progress
        )
        return stored

    async def log_text(self, text: str, artifact_file: str) -> Artifact:
        """Logs text as a file, in UTF-8."""
        stored: Artifact = await self._client.log_text(self._info.run_id, text, artifact_file)
        return stored

    async def log_dict(self, dictionary: Any, artifact_file: str) -> Artifact:
        """Logs a dict or list as a file: YAML if it is so named, else JSON."""
        stored: Artifact = await self._client.log_dict(self._info.run_id, dictionary, artifact_file)
        return stored

    async def log_figure(
        self, figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None
    ) -> Artifact:
        """Logs a figure of matplotlib or plotly."""
        stored: Artifact = await self._client.log_figure(
            self._info.run_id, figure, artifact_file, save_kwargs=save_kwargs
        )
        return stored

    async def log_image(
        self,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
    ) -> Artifact:
        """Logs an image of Pillow or MLflow, or an array, as a file or as that of a step."""
        stored: Artifact = await self._client.log_image(
            self._info.run_id, image, artifact_file, key, step, timestamp
        )
        return stored

    def list_artifacts(
        self, path: str | None = None, *, recursive: bool = False
    ) -> AsyncIterator[Artifact]:
        """Iterates over the files and folders in the folder `path`."""
        listed: AsyncIterator[Artifact] = self._client.list_artifacts(
            self._info.run_id, path, recursive=recursive
        )
        return listed

    async def download_artifacts(
        self,
        path: str = "",
        dst_path: str | os.PathLike[str] | None = None,
        *,
        progress: ProgressOption = None,
    ) -> str:
        """Downloads a file or folder, by default everything; returns where it is."""
        place: str = await self._client.download_artifacts(
            self._info.run_id, path, dst_path, progress=progress
        )
        return place

    async def log_dataset(
        self,
        data: Any,
        context: str | None = None,
        *,
        name: str | None = None,
        source: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Dataset:
        """Logs that the run uses data: a dataset, a data frame, an array or a file."""
        described: Dataset = await self._client.log_dataset(
            self._info.run_id, data, context, name=name, source=source, tags=tags
        )
        return described
