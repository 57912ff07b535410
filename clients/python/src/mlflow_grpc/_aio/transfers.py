"""Sends and receives batches of files on an asyncio channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import grpc

from mlflow_grpc._aio.listing import AsyncListingMethods
from mlflow_grpc._calls import artifacts as calls
from mlflow_grpc._config import Deadline
from mlflow_grpc._entities import Artifact
from mlflow_grpc._errors import MlflowGrpcError, decode_error
from mlflow_grpc._files.plan import Batch, Source, batches
from mlflow_grpc._files.progress import ProgressOption, progress_of
from mlflow_grpc._files.receiving import Reading, Receiving, Remote
from mlflow_grpc._files.retries import Retries
from mlflow_grpc._files.sending import Moved, Sending
from mlflow_grpc._files.threads import Ahead, Behind, Stop
from mlflow_grpc.v1 import artifacts_pb2 as pb

B = TypeVar("B")
R = TypeVar("R")


class AsyncTransfers(AsyncListingMethods):
    """Moves files, several calls at a time, and takes up again what was cut off."""

    async def _upload(
        self, of: str, sources: list[Source], progress: ProgressOption, timeout: float | None
    ) -> list[Artifact]:
        deadline = Deadline(timeout)
        total = sum(source.size for source in sources)
        with progress_of(progress, "sending", total, len(sources)) as moved:
            stored = await self._each(
                batches(sources), lambda batch: self._send(of, batch, moved, deadline)
            )
        return [artifact for batch in stored for artifact in batch]

    async def _download(
        self,
        of: str,
        files: list[Artifact],
        folder: Path,
        progress: ProgressOption,
        timeout: float | None,
    ) -> None:
        deadline = Deadline(timeout)
        remote = [Remote(file) for file in files]
        all_paths = {file.path for file in files}
        total = sum(file.size for file in remote)
        with progress_of(progress, "receiving", total, len(files)) as moved:
            await self._each(
                batches(remote),
                lambda batch: self._receive(
                    of, Receiving(batch, folder, all_paths, moved), deadline
                ),
            )

    async def _read(
        self, of: str, path: str, offset: int, length: int | None, deadline: Deadline
    ) -> bytes:
        request = calls.download(of, [path], offset, length)
        retries = Retries(enabled=self._config.retry_attempts > 1)
        while True:
            reading = Reading(path, offset, length)
            try:
                await self._read_once(request, reading, deadline)
                return reading.content()
            except MlflowGrpcError as error:
                await asyncio.sleep(retries.delay(error, reading.received))

    async def _read_once(
        self, request: pb.DownloadArtifactRequest, reading: Reading, deadline: Deadline
    ) -> None:
        try:
            messages = self._stub(calls.DOWNLOAD_ARTIFACT)(
                request, timeout=deadline.left(), metadata=self._config.metadata
            )
            with Stop().ending(messages):
                async for message in messages:
                    await asyncio.to_thread(reading.take, message.chunks)
        except grpc.RpcError as error:
            raise decode_error(error) from error

    async def _each(self, work: Iterable[B], do: Callable[[B], Awaitable[R]]) -> list[R]:
        """What `do` returns for each, in order. The first failure stops what has not begun."""
        free = asyncio.Semaphore(self._config.parallel_files)

        async def one(item: B) -> R:
            async with free:
                return await do(item)

        tasks = [asyncio.ensure_future(one(item)) for item in work]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(
        self, of: str, batch: Batch[Source], moved: Moved, deadline: Deadline
    ) -> list[Artifact]:
        sending = Sending(of, batch, moved)
        retries = Retries(enabled=self._config.retry_attempts > 1)
        offset: int | None = 0
        while True:
            try:
                if offset is None:
                    offset = await self._held(of, batch, deadline)
                requests = Ahead(sending.requests(offset))
                try:
                    response = await self._stub(calls.LOG_ARTIFACTS)(
                        _awaited(requests), timeout=deadline.left(), metadata=self._config.metadata
                    )
                except grpc.RpcError as error:
                    raise (requests.failure or decode_error(error)) from error
                finally:
                    await asyncio.shield(asyncio.to_thread(requests.close))
                if requests.failure:
                    raise requests.failure
                return sending.check(response)
            except MlflowGrpcError as error:
                await asyncio.sleep(retries.delay(error, sending.sent))
                offset = None

    async def _held(self, of: str, batch: Batch[Source], deadline: Deadline) -> int:
        if not batch.is_large:
            return 0
        call = calls.get_artifact_upload(of, batch.files[0].path, batch.upload_id)
        return await self._call(call, deadline.left())

    async def _receive(self, of: str, receiving: Receiving, deadline: Deadline) -> None:
        retries = Retries(enabled=self._config.retry_attempts > 1)
        while True:
            try:
                offset = await _to_its_end(receiving.begin)
                try:
                    messages = self._stub(calls.DOWNLOAD_ARTIFACT)(
                        calls.download(of, receiving.paths, offset),
                        timeout=deadline.left(),
                        metadata=self._config.metadata,
                    )
                    # One message is written while the next one arrives.
                    writing = Behind()
                    try:
                        async for message in messages:
                            await asyncio.to_thread(writing.run, receiving.take, message.chunks)
                        await asyncio.to_thread(writing.wait)
                    finally:
                        messages.cancel()
                        await asyncio.shield(asyncio.to_thread(writing.close))
                except grpc.RpcError as error:
                    raise decode_error(error) from error
                receiving.check()
                return
            except MlflowGrpcError as error:
                if receiving.is_whole:
                    return
                delay = retries.delay(error, receiving.received)
                if Retries.is_damage(error):
                    await _to_its_end(receiving.restart)
                await asyncio.sleep(delay)
            finally:
                await _to_its_end(receiving.close)


async def _to_its_end(call: Callable[[], R]) -> R:
    """What `call` returns in a thread, which is done with it when this ends, cancelled or not."""
    done = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done])
        raise


async def _awaited(requests: Ahead[R]) -> AsyncIterator[R]:
    """The requests, each waited for in a thread."""
    while (request := await asyncio.to_thread(next, requests, None)) is not None:
        yield request
