"""Sends and receives batches of files on a blocking channel."""

from __future__ import annotations

import time
from pathlib import Path

import grpc

from mlflow_grpc._calls import artifacts as calls
from mlflow_grpc._config import Deadline
from mlflow_grpc._entities import Artifact
from mlflow_grpc._errors import MlflowGrpcError, decode_error
from mlflow_grpc._files.plan import Batch, Source, batches
from mlflow_grpc._files.progress import ProgressOption, progress_of
from mlflow_grpc._files.receiving import Reading, Receiving, Remote
from mlflow_grpc._files.retries import Retries
from mlflow_grpc._files.sending import Moved, Sending
from mlflow_grpc._files.threads import Ahead, Behind, Stop, each
from mlflow_grpc._forks import FORKS
from mlflow_grpc._sync.listing import ListingMethods
from mlflow_grpc.v1 import artifacts_pb2 as pb


class Transfers(ListingMethods):
    """Moves files, several calls at a time, and takes up again what was cut off."""

    def _upload(
        self, of: str, sources: list[Source], progress: ProgressOption, timeout: float | None
    ) -> list[Artifact]:
        deadline = Deadline(timeout)
        total = sum(source.size for source in sources)
        stop = Stop()
        with FORKS.calling(), progress_of(progress, "sending", total, len(sources)) as moved:
            stored = each(
                batches(sources),
                lambda batch: self._send(of, batch, moved, deadline, stop),
                stop,
                self._config.parallel_files,
            )
        return [artifact for batch in stored for artifact in batch]

    def _download(
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
        stop = Stop()
        with FORKS.calling(), progress_of(progress, "receiving", total, len(files)) as moved:
            each(
                batches(remote),
                lambda batch: self._receive(
                    of, Receiving(batch, folder, all_paths, moved), deadline, stop
                ),
                stop,
                self._config.parallel_files,
            )

    def _read(
        self, of: str, path: str, offset: int, length: int | None, deadline: Deadline
    ) -> bytes:
        request = calls.download(of, [path], offset, length)
        retries = Retries(enabled=self._config.retry_attempts > 1)
        while True:
            reading = Reading(path, offset, length)
            try:
                with FORKS.calling():
                    self._read_once(request, reading, deadline)
                return reading.content()
            except MlflowGrpcError as error:
                time.sleep(retries.delay(error, reading.received))

    def _read_once(
        self, request: pb.DownloadArtifactRequest, reading: Reading, deadline: Deadline
    ) -> None:
        try:
            messages = self._stub(calls.DOWNLOAD_ARTIFACT)(
                request, timeout=deadline.left(), metadata=self._config.metadata
            )
            with Stop().ending(messages):
                for message in messages:
                    reading.take(message.chunks)
        except grpc.RpcError as error:
            raise decode_error(error) from error

    def _send(
        self, of: str, batch: Batch[Source], moved: Moved, deadline: Deadline, stop: Stop
    ) -> list[Artifact]:
        sending = Sending(of, batch, moved)
        retries = Retries(enabled=self._config.retry_attempts > 1)
        offset: int | None = 0
        while True:
            try:
                if offset is None:
                    offset = self._held(of, batch, deadline)
                requests = Ahead(sending.requests(offset))
                try:
                    # A future, as only that is cancelled when this thread is interrupted.
                    call = self._stub(calls.LOG_ARTIFACTS).future(
                        requests, timeout=deadline.left(), metadata=self._config.metadata
                    )
                    with stop.ending(call):
                        response = call.result()
                except grpc.RpcError as error:
                    raise (requests.failure or decode_error(error)) from error
                finally:
                    requests.close()
                if requests.failure:
                    raise requests.failure
                return sending.check(response)
            except MlflowGrpcError as error:
                stop.sleep(retries.delay(error, sending.sent))
                offset = None

    def _held(self, of: str, batch: Batch[Source], deadline: Deadline) -> int:
        if not batch.is_large:
            return 0
        call = calls.get_artifact_upload(of, batch.files[0].path, batch.upload_id)
        return self._call(call, deadline.left())

    def _receive(self, of: str, receiving: Receiving, deadline: Deadline, stop: Stop) -> None:
        retries = Retries(enabled=self._config.retry_attempts > 1)
        while True:
            try:
                offset = receiving.begin()
                try:
                    messages = self._stub(calls.DOWNLOAD_ARTIFACT)(
                        calls.download(of, receiving.paths, offset),
                        timeout=deadline.left(),
                        metadata=self._config.metadata,
                    )
                    # One message is written while the next one arrives.
                    writing = Behind()
                    try:
                        with stop.ending(messages):
                            for message in messages:
                                writing.run(receiving.take, message.chunks)
                            writing.wait()
                    finally:
                        writing.close()
                except grpc.RpcError as error:
                    raise decode_error(error) from error
                receiving.check()
                return
            except MlflowGrpcError as error:
                if receiving.is_whole:
                    return
                delay = retries.delay(error, receiving.received)
                if Retries.is_damage(error):
                    receiving.restart()
                stop.sleep(delay)
            finally:
                receiving.close()
