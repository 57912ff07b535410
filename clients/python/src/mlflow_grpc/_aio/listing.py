"""Lists of artifacts."""

# Made from _sync/listing.py by tests/unit/client/twins.py; do not edit.

from __future__ import annotations

from collections.abc import AsyncIterator

from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._calls import artifacts as calls
from mlflow_grpc._entities import Artifact


class AsyncListingMethods(AsyncCaller):
    """The methods that tell what files there are."""

    def list_artifacts(
        self,
        run_id: str,
        path: str | None = None,
        *,
        recursive: bool = False,
        max_results: int | None = None,
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Artifact]:
        """Iterates over the files and folders in the folder `path`, by path; a file lists itself.

        `run_id` may also be a `models:/...` URI. With `recursive`, what is in folders below comes
        as well, each folder before what is in it. Pages are fetched as they are needed, each of at
        most `page_size` (default 1,000, maximum 10,000) and each within `timeout` seconds.

        Raises `NotFoundError` if there is no such run or path.
        """
        pages = calls.list_artifacts(run_id, path, recursive, max_results, page_size)
        return self._iterate(pages, timeout)

    async def get_artifact_upload(
        self, run_id: str, path: str, upload_id: str, *, timeout: float | None = None
    ) -> int:
        """How many bytes the server holds of a file whose upload was cut off.

        The methods that log files resume by themselves; this is for programs that send chunks.
        """
        return await self._call(calls.get_artifact_upload(run_id, path, upload_id), timeout)
