"""Keeps a stream to the server up, and everything in the buffer moving, in the background."""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from mlflow_grpc._backoff import backoff
from mlflow_grpc._errors import MlflowGrpcError, UnavailableError, decode_error, error_of_status
from mlflow_grpc._forks import FORKS
from mlflow_grpc._stream.buffer import Buffer, Flush, NewPoint
from mlflow_grpc._stream.config import StreamConfig
from mlflow_grpc._stream.connection import Connection, Sequences, unstored_metrics
from mlflow_grpc._stream.entities import StoredMetrics, StreamStats, UnstoredMetrics
from mlflow_grpc._stream.lane import Lane
from mlflow_grpc.v1 import run_service_pb2 as pb

__all__ = ["GOODBYE_SECONDS", "Engine"]

_log = logging.getLogger("mlflow_grpc")

_PATH = "/mlflow_grpc.v1.RunService/StreamMetrics"
# How long the end of a stream on which everything is acknowledged may take, in seconds.
GOODBYE_SECONDS = 5.0
# What a new attempt cannot mend.
_FATAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


class Engine:
    """The stream of one client. Its thread starts with the first point.

    It is a thread with a blocking channel for the asyncio client too: a training loop that keeps
    its event loop busy still streams.
    """

    def __init__(
        self,
        connect: Callable[[], grpc.Channel],
        metadata: tuple[tuple[str, str | bytes], ...],
        config: StreamConfig,
    ) -> None:
        self._connect = connect
        self._metadata = metadata
        self._config = config
        self._buffer = Buffer(config.buffer_points, config.when_full)
        self._sequences = Sequences()
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._in_grpc = False
        """Whether a thread of the stream may be inside gRPC."""
        self._suspended = False
        self._closing = False
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._pid = os.getpid()
        FORKS.add_stream(self)

    def offer(self, lane: Lane, points: Sequence[NewPoint]) -> int:
        """Logs the first of `points`, and returns how many. Never blocks.

        Raises BufferFullError if that is what to do when the buffer is full, and RuntimeError if
        the client is closed.
        """
        if self._thread is None:
            self._start()
        return self._buffer.offer(lane, points)

    def room(self) -> concurrent.futures.Future[None]:
        """Completes when `offer` may take more."""
        self._check_thread("wait for room in the buffer")
        return self._buffer.room()

    def flush(self, lane: Lane | None) -> Flush:
        """Sends the points of a lane, or of all, at once; its future tells when they are stored."""
        self._check_thread("flush")
        with self._buffer.lock:
            return self._buffer.flush(None if lane is None else (lane,))

    def give_up(self, flush: Flush, seconds: float) -> None:
        """Fails a flush that has waited long enough."""
        with self._buffer.lock:
            self._buffer.give_up(flush, seconds)

    def stats(self, lane: Lane | None = None) -> StreamStats:
        """The counters of a lane, or of all."""
        with self._buffer.lock:
            return self._buffer.stats(lane)

    def seal(self) -> None:
        """Takes nothing more; what is there goes on."""
        with self._buffer.lock:
            self._buffer.sealed = True

    def shut_down(self) -> concurrent.futures.Future[None]:
        """Gives up what is not stored, and ends the thread; completes when that is done."""
        with self._buffer.lock:
            self._closing = True
            self._buffer.close()
            if self._connection is not None and self._buffer.outstanding:
                self._connection.cancel()
            if self._thread is None and not self._ended.done():
                self._ended.set_result(None)
        atexit.unregister(self._at_exit)
        return self._ended

    def suspend(self) -> bool:
        """Ends the stream for now; returns whether no thread of it is inside gRPC any more."""
        with self._buffer.lock:
            self._suspended = True
            if threading.current_thread() is self._thread:
                return False
            if self._connection is not None:
                self._connection.cancel()
            return self._buffer.changed.wait_for(lambda: not self._in_grpc, GOODBYE_SECONDS)

    def resume(self) -> None:
        """Goes on after `suspend`."""
        with self._buffer.lock:
            self._suspended = False
            self._buffer.changed.notify_all()

    def _start(self) -> None:
        with self._buffer.lock:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(
                    target=self._run, name="mlflow-grpc-stream", daemon=True
                )
                self._thread.start()
                atexit.register(self._at_exit)

    def _at_exit(self) -> None:
        """Saves what a program logged that has not closed its client."""
        if os.getpid() != self._pid:
            return
        flush = self.flush(None)
        try:
            flush.future.result(self._config.flush_timeout)
        except concurrent.futures.TimeoutError:
            self.give_up(flush, self._config.flush_timeout)
        with contextlib.suppress(concurrent.futures.TimeoutError):
            self.shut_down().result(GOODBYE_SECONDS)
        error = flush.future.exception()
        if error is not None:
            _log.error("a client was not closed before the process ended: %s", error)

    def _check_thread(self, what: str) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError(f"a callback of the stream must not {what}")

    # In the engine's thread.

    def _run(self) -> None:
        try:
            attempt = 0
            while self._wait_for_work():
                connection, error = self._stream()
                attempt = 0 if connection.progressed else attempt + 1
                self._after_stream(error, attempt)
        except Exception as error:
            # Never silently: who waits is told, and so is the log.
            _log.exception("the stream of metrics failed")
            self._fail(MlflowGrpcError(grpc.StatusCode.INTERNAL, f"the client failed: {error!r}"))
        finally:
            self._ended.set_result(None)

    def _wait_for_work(self) -> bool:
        buffer = self._buffer
        with buffer.lock:
            buffer.wake_at = 1
            while self._suspended or not (buffer.outstanding or self._closing):
                buffer.changed.wait()
                buffer.wake_at = 1
            self._in_grpc = not self._closing
            return self._in_grpc

    def _stream(self) -> tuple[Connection, MlflowGrpcError]:
        """Streams until the stream ends, and returns why it did."""
        connection = Connection(self._buffer, self._sequences, self._config, self._tell_unstored)
        with contextlib.closing(self._connect()) as channel:
            stub: Any = channel.stream_stream(
                _PATH,
                request_serializer=None,
                response_deserializer=pb.StreamMetricsResponse.FromString,
            )
            call = stub(connection.messages(), metadata=self._metadata)
            receiver: concurrent.futures.Future[threading.Thread] = concurrent.futures.Future()
            heard = call.add_callback(lambda: receiver.set_result(threading.current_thread()))
            connection.cancel = call.cancel
            with self._buffer.lock:
                self._connection = connection
                if self._suspended or (self._closing and self._buffer.outstanding):
                    call.cancel()
            try:
                for response in call:
                    self._take(connection, response)
                error: MlflowGrpcError = UnavailableError(
                    grpc.StatusCode.UNAVAILABLE, "the server ended the stream"
                )
            except grpc.RpcError as failed:
                error = decode_error(failed)
            finally:
                with self._buffer.lock:
                    connection.end()
        if heard:
            # gRPC's own threads for the call may still be inside it, and no fork must find them.
            receiver.result(GOODBYE_SECONDS).join(GOODBYE_SECONDS)
        with self._buffer.lock:
            self._connection = None
            self._in_grpc = False
            self._buffer.changed.notify_all()
        return connection, error

    def _take(self, connection: Connection, response: pb.StreamMetricsResponse) -> None:
        event = response.WhichOneof("event")
        if event == "limits":
            with self._buffer.lock:
                self._buffer.last_error = None
                connection.start(response.limits)
        elif event == "rejection":
            self._take_rejection(response.rejection)
        elif event == "ack":
            with self._buffer.lock:
                messages, stored = self._buffer.ack(response.ack.sequence)
                connection.acked(messages)
            for lane, points in stored.items():
                self._tell(self._config.on_stored, StoredMetrics(lane.run_id, points))
            with self._buffer.lock:
                self._buffer.tell()

    def _take_rejection(self, rejection: pb.StreamRejection) -> None:
        told = []
        with self._buffer.lock:
            for message in self._buffer.unacked:
                if message.sequence == rejection.sequence:
                    break
            else:
                return
            for entries in rejection.entries:
                error = error_of_status(entries.status)
                indexes, unstored = unstored_metrics(message, entries, error)
                if unstored is not None:
                    self._buffer.reject(message, indexes, unstored)
                    told.append(unstored)
        for unstored in told:
            self._tell_unstored(unstored)

    def _after_stream(self, error: MlflowGrpcError, attempt: int) -> None:
        """Decides what the end of a stream means, and pauses before the next."""
        buffer = self._buffer
        if error.code in _FATAL:
            self._fail(error)
            return
        pause = backoff(attempt, self._config.max_backoff)
        if error.retry_delay is not None:
            pause += error.retry_delay
        with buffer.lock:
            if self._suspended or self._closing:
                return
            buffer.reconnects += 1
            buffer.last_error = error
            _log.debug("the stream of metrics was cut, again in %.2f s: %s", pause, error)
            until = time.monotonic() + pause
            while not self._closing and (left := until - time.monotonic()) > 0:
                buffer.changed.wait(left)

    def _fail(self, error: MlflowGrpcError) -> None:
        with self._buffer.lock:
            lost = self._buffer.outstanding
            self._buffer.fail(error)
        _log.error("the stream of metrics failed for good, %d points are lost: %s", lost, error)
        self._tell(self._config.on_failed, error)
        with self._buffer.lock:
            self._buffer.tell()

    def _tell_unstored(self, unstored: UnstoredMetrics) -> None:
        self._tell(self._config.on_rejected, unstored)

    def _tell(self, callback: Callable[[Any], None] | None, what: object) -> None:
        if callback is None:
            return
        try:
            callback(what)
        except Exception:
            _log.exception("a callback of the stream failed")
