"""Streams of entries to log, and of what happens to a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from google.rpc import status_pb2

from mlflow_grpc.v1 import run_service_pb2 as pb
from mlflow_grpc_server.convert import fields, runs
from mlflow_grpc_server.exceptions import InvalidFieldError, RequestError
from mlflow_grpc_server.ingest.entries import Entries, EntryKind, Outcome, Rejected
from mlflow_grpc_server.tracking.commits import Cursor
from mlflow_grpc_server.tracking.watch import Ended, Event, Points, RunWatch, Snapshot

__all__ = [
    "MAX_ENTRIES_PER_MESSAGE",
    "MAX_MESSAGES_IN_FLIGHT",
    "ack",
    "entries",
    "event_to_proto",
    "limits",
    "rejections",
    "run_watch",
    "sequence",
    "size",
]

MAX_ENTRIES_PER_MESSAGE = 25_000
MAX_MESSAGES_IN_FLIGHT = 64
_MOST_WATCHED_KEYS = 100
_MOST_REJECTION_BYTES = 1024 * 1024
_KINDS = {
    EntryKind.METRIC: pb.EntryKind.ENTRY_KIND_METRIC,
    EntryKind.PARAM: pb.EntryKind.ENTRY_KIND_PARAM,
    EntryKind.TAG: pb.EntryKind.ENTRY_KIND_TAG,
}

M = TypeVar("M", bound=Message)
T = TypeVar("T")


def limits(max_message_bytes: int) -> pb.StreamMetricsResponse:
    """Return the first message of a stream."""
    return pb.StreamMetricsResponse(
        limits=pb.StreamLimits(
            max_entries_per_message=MAX_ENTRIES_PER_MESSAGE,
            max_messages_in_flight=MAX_MESSAGES_IN_FLIGHT,
            max_message_bytes=max_message_bytes,
        )
    )


def sequence(request: pb.StreamMetricsRequest, last: int) -> int:
    """Return the sequence of a message that follows the one with `last`."""
    if request.sequence < 1:
        raise InvalidFieldError("sequence", f"is {request.sequence}; it must be at least 1")
    if request.sequence <= last:
        raise InvalidFieldError(
            "sequence", f"is {request.sequence}, which is not above the last one, {last}"
        )
    return request.sequence


def size(request: pb.StreamMetricsRequest) -> int:
    """Return how many entries a message has."""
    return len(request.metrics) + len(request.params) + len(request.tags)


def entries(request: pb.StreamMetricsRequest) -> tuple[Entries, list[Rejected]]:
    """Return what a message logs, and what of it can never be stored.

    Raises InvalidFieldError for a message that breaks the protocol: no entries, or too many.
    """
    count = size(request)
    if not count:
        raise InvalidFieldError("metrics", "or params or tags must be given")
    if count > MAX_ENTRIES_PER_MESSAGE:
        raise InvalidFieldError(
            "metrics",
            f"and params and tags have {count:,} entries, more than the "
            f"{MAX_ENTRIES_PER_MESSAGE:,} allowed",
        )
    try:
        checked = Entries(fields.run_id(request.run_id))
    except InvalidFieldError as error:
        return Entries(""), list(_all_rejected(request, error))
    rejected: list[Rejected] = []
    now_ms = time.time_ns() // 10**6
    metrics = runs.MetricRows(checked, now_ms)
    _each(EntryKind.METRIC, request.metrics, metrics.add, rejected)
    params = _each(EntryKind.PARAM, request.params, runs.param, rejected)
    checked.params = [(index, *param) for index, param in params]
    tags = _each(EntryKind.TAG, request.tags, runs.run_tag, rejected)
    checked.tags = [(index, *tag) for index, tag in tags]
    return checked, rejected


def _each(
    kind: EntryKind,
    items: Sequence[M],
    convert: Callable[[int, M], T],
    rejected: list[Rejected],
) -> list[tuple[int, T]]:
    """Convert items one by one, adding those that cannot be to `rejected`."""
    converted = []
    for index, item in enumerate(items):
        try:
            converted.append((index, convert(index, item)))
        except InvalidFieldError as error:
            # They hold on to frames, which take ten times the memory of the error.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            rejected.append(Rejected(kind, index, error))
    return converted


def _all_rejected(request: pb.StreamMetricsRequest, error: RequestError) -> Iterator[Rejected]:
    for kind in EntryKind:
        for index in range(len(getattr(request, kind.value))):
            yield Rejected(kind, index, error)


def ack(number: int) -> pb.StreamMetricsResponse:
    """Return the acknowledgement of everything up to a sequence."""
    return pb.StreamMetricsResponse(ack=pb.StreamAck(sequence=number))


def rejections(
    request: pb.StreamMetricsRequest,
    rejected: Sequence[Rejected],
    outcome: Outcome,
    status_for: Callable[[RequestError], status_pb2.Status],
) -> list[pb.StreamMetricsResponse]:
    """Return what tells of every entry of a message that is not stored, with its status."""
    known = {(one.kind, one.index) for one in rejected}
    late: Iterable[Rejected] = outcome.rejected
    if outcome.refused is not None:
        late = _all_rejected(request, outcome.refused)
    everything = [*rejected, *(one for one in late if (one.kind, one.index) not in known)]
    responses = []
    message, taken = pb.StreamRejection(sequence=request.sequence), 0
    for group in _by_fault(everything, status_for):
        taken += group.ByteSize()
        if message.entries and taken > _MOST_REJECTION_BYTES:
            responses.append(pb.StreamMetricsResponse(rejection=message))
            message, taken = pb.StreamRejection(sequence=request.sequence), group.ByteSize()
        message.entries.append(group)
    if message.entries:
        responses.append(pb.StreamMetricsResponse(rejection=message))
    return responses


def _by_fault(
    rejected: Sequence[Rejected], status_for: Callable[[RequestError], status_pb2.Status]
) -> Iterator[pb.RejectedEntries]:
    groups: dict[tuple[EntryKind, str, str], list[Rejected]] = {}
    for one in sorted(rejected, key=lambda one: (one.kind.value, one.index)):
        fault = one.error.message
        if isinstance(one.error, InvalidFieldError):
            # Behind the name of the field, which has the index in it.
            fault = fault.partition(": ")[2]
        groups.setdefault((one.kind, one.error.reason, fault), []).append(one)
    for (kind, _, _), members in groups.items():
        yield pb.RejectedEntries(
            kind=_KINDS[kind],
            indexes=[one.index for one in members],
            status=status_for(members[0].error),
        )


def run_watch(request: pb.WatchRunRequest) -> RunWatch:
    """Check a WatchRunRequest."""
    run_id = fields.run_id(request.run_id)
    fields.at_most("metric_keys", request.metric_keys, _MOST_WATCHED_KEYS)
    keys = [
        fields.key(f"metric_keys[{index}]", key) for index, key in enumerate(request.metric_keys)
    ]
    if request.cursor and request.include_history:
        raise InvalidFieldError("include_history", "goes without a cursor")
    cursor = Cursor.decode(request.cursor, run_id) if request.cursor else None
    return RunWatch(run_id, keys, request.include_history, cursor)


def event_to_proto(event: Event, run_id: str) -> pb.WatchRunResponse:
    """Return what happened to a run as a message."""
    response = pb.WatchRunResponse(cursor=event.cursor.encode(run_id))
    if isinstance(event, Snapshot):
        response.snapshot.CopyFrom(runs.run_to_proto(event.run))
    elif isinstance(event, Points):
        response.points.metrics.extend(map(runs.row_to_proto, event.points))
    elif isinstance(event, Ended):
        response.end.CopyFrom(runs.run_to_proto(event.run))
    return response
