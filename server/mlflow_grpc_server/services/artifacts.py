"""The methods of RunService about artifacts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from mlflow_grpc.v1 import artifacts_pb2 as pb
from mlflow_grpc_server.artifacts.entries import page_of
from mlflow_grpc_server.artifacts.store import Artifacts, Owner
from mlflow_grpc_server.artifacts.uploads import Upload
from mlflow_grpc_server.convert import artifacts, pages
from mlflow_grpc_server.services.context import Context
from mlflow_grpc_server.tracking.pool import BlockingPool

__all__ = ["ArtifactMethods"]


class ArtifactMethods:
    """Files of runs and models, in and out. A part of RunServicer."""

    _artifacts: Artifacts
    _files: BlockingPool
    _pool: BlockingPool

    async def LogArtifacts(
        self, request_iterator: AsyncIterator[pb.LogArtifactsRequest], context: Context
    ) -> pb.LogArtifactsResponse:
        owner: Owner | None = None
        upload: Upload | None = None
        feeding: asyncio.Future[None] | None = None
        try:
            async for request in request_iterator:
                owner = artifacts.same_owner(request, owner)
                if upload is None:
                    upload = await self._pool.run(self._artifacts.upload, owner)
                if feeding is not None:
                    await feeding
                # One message is written while the next one arrives, and no more wait.
                feeding = asyncio.ensure_future(self._files.run(upload.feed, request.chunks))
            if upload is None:
                artifacts.owner(pb.LogArtifactsRequest())
            assert upload is not None
            if feeding is not None:
                await feeding
            return artifacts.stored_to_proto(await self._files.run(upload.finish))
        finally:
            if upload is not None:
                # Waits for a thread that still writes, and is not of the pool, which may be full.
                await asyncio.shield(asyncio.to_thread(upload.close))
            if feeding is not None:
                with suppress(BaseException):
                    await feeding

    async def GetArtifactUpload(
        self, request: pb.GetArtifactUploadRequest, context: Context
    ) -> pb.GetArtifactUploadResponse:
        path, upload_id = artifacts.upload(request)
        owner = artifacts.owner(request)
        held = await self._pool.run(self._artifacts.held, owner, path, upload_id)
        return pb.GetArtifactUploadResponse(held_bytes=held)

    async def ListArtifacts(
        self, request: pb.ListArtifactsRequest, context: Context
    ) -> pb.ListArtifactsResponse:
        owner = artifacts.owner(request)
        parts = artifacts.folder(request.path)
        page = pages.page_of(request, default=1000, maximum=10_000)
        after = tuple(page.store_token.split("/")) if page.store_token else ()
        # One more than asked for tells whether there is a next page.
        root = await self._pool.run(self._artifacts.readable, owner)
        found = await self._files.run(
            page_of,
            root,
            parts,
            recursive=request.recursive,
            after=after,
            limit=page.limit + 1,
        )
        more = len(found) > page.limit
        listed = found[: page.limit]
        return pages.respond(
            pb.ListArtifactsResponse(),
            "artifacts",
            map(artifacts.entry_to_proto, listed),
            page,
            listed[-1].path if more else None,
        )

    async def DownloadArtifact(
        self, request: pb.DownloadArtifactRequest, context: Context
    ) -> AsyncIterator[pb.DownloadArtifactResponse]:
        owner = artifacts.owner(request)
        wanted = artifacts.wanted(request)
        offset, length = artifacts.range_of(request)
        download = await self._pool.run(self._artifacts.download, owner, wanted, offset, length)
        messages = download.messages()

        def read() -> pb.DownloadArtifactResponse | None:
            pieces = next(messages, None)
            return None if pieces is None else artifacts.pieces_to_proto(pieces)

        reading = asyncio.ensure_future(self._files.run(read))
        try:
            while (message := await asyncio.shield(reading)) is not None:
                # The next message is read while this one is sent.
                reading = asyncio.ensure_future(self._files.run(read))
                yield message
        finally:
            with suppress(BaseException):
                await reading
            await asyncio.shield(asyncio.to_thread(messages.close))
