"""One name and what answers to it: its versions, their shares of the calls, and their change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mlflow_grpc_server.exceptions import (
    FailedPreconditionError,
    NotFoundError,
    RequestError,
)
from mlflow_grpc_server.serving.answers import stopped
from mlflow_grpc_server.serving.group import Group
from mlflow_grpc_server.serving.line import check_room
from mlflow_grpc_server.serving.process import ProcessSpec
from mlflow_grpc_server.serving.replica import LoadError
from mlflow_grpc_server.serving.spec import ModelState, Served, Spec, TensorInfos, VersionView

__all__ = ["Deployment", "Located"]


@dataclass(frozen=True)
class Located:
    """A version to serve: as asked for, as resolved, its weight and where its files are."""

    uri: str
    resolved_uri: str
    weight: int
    path: Path


Locate: TypeAlias = "Callable[[], Awaitable[Sequence[Located]]]"


@dataclass(eq=False)
class _Version:
    """A group, and what it takes to know whether it can stay when the deployment changes."""

    uri: str
    key: tuple[object, ...]
    group: Group
    weight: int
    turn: int = 0


class Deployment:
    """What answers to one name."""

    def __init__(self, spec: Spec, most_waiting: int, create_time_ms: int | None = None) -> None:
        self.spec = spec
        self._most_waiting = most_waiting
        self._waiting = self._waiting_bytes = 0
        self._serving: list[_Version] = []
        self._starting: list[_Version] = []
        self._draining: list[_Version] = []
        self._change: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._failure: LoadError | None = None
        self._undeployed = False
        self._closed = False
        self._ended: RequestError | bool | None = False
        self.create_time_ms = create_time_ms or _now_ms()
        self._update_time_ms = self.create_time_ms
        self._news = asyncio.Event()

    # What it is.

    def view(self) -> Served:
        """Return the served model as it is."""
        state, reason, lines = self._state()
        return Served(
            spec=self.spec,
            state=state,
            versions=tuple(
                VersionView(version.uri, version.group.uri, weight, version.group.views())
                for versions, called in (
                    (self._serving, True),
                    (self._starting, False),
                    (self._draining, False),
                )
                for version in versions
                for weight in [version.weight if called else 0]
            ),
            reason=reason,
            log_lines=lines,
            create_time_ms=self.create_time_ms,
            update_time_ms=self._update_time_ms,
        )

    def _state(self) -> tuple[ModelState, str, tuple[str, ...]]:
        if self._undeployed:
            return ModelState.DRAINING, "", ()
        if self.is_changing:
            return ModelState.DEPLOYING, "", ()
        if self._failure is not None:
            state = ModelState.DEGRADED if self._serving else ModelState.FAILED
            return state, self._failure.reason, self._failure.log_lines
        lame = [version.group for version in self._serving if not version.group.is_ready]
        if not lame:
            return ModelState.READY, "", ()
        state = ModelState.FAILED if self._has_given_up else ModelState.DEGRADED
        return state, *lame[0].failure()

    @property
    def _has_given_up(self) -> bool:
        return all(version.group.has_given_up for version in self._serving)

    async def watch(self) -> AsyncIterator[Served]:
        """Yield the served model now and whenever it has changed, until it is gone."""
        last = None
        while True:
            news = self._news
            now = self.view()
            if now != last:
                yield now
                last = now
            if self._ended is None:
                return
            if isinstance(self._ended, RequestError):
                raise self._ended
            await news.wait()

    def end_watches(self, error: RequestError | None) -> None:
        """End the watches, with an error if given."""
        self._ended = error
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # How it changes.

    def change(self, spec: Spec, locate: Locate) -> None:
        """Begin to serve `spec`; what is being started for an earlier one is given up.

        `locate` says where the versions are, or raises LoadError.
        """
        self.spec = spec
        self._update_time_ms = _now_ms()
        self._change = asyncio.create_task(self._serve(self._change, spec, locate))
        self._change.add_done_callback(lambda task: self._tell())
        self._tell()

    @property
    def is_changing(self) -> bool:
        """Whether what was asked for last is still being started."""
        return self._change is not None and not self._change.done()

    @property
    def lacks_files(self) -> bool:
        """Whether what was asked for last is not served because no process could be started.

        The files of its model could not be had, so that no process has a log.
        """
        failure = self._failure
        return failure is not None and not failure.log_lines and not self.is_changing

    async def settled(self) -> None:
        """Return when what was asked for last serves, or cannot; raise if it cannot."""
        while self._change is not None and not self._change.done():
            await asyncio.wait({self._change})
        if self._undeployed:
            raise NotFoundError("served model", self.spec.name)
        if self._failure is not None:
            raise FailedPreconditionError(
                "MODEL_NOT_LOADED",
                f"The model {self.spec.name!r} cannot be served: {self._failure.reason}",
                {"name": self.spec.name},
            )

    async def _serve(self, before: asyncio.Task[None] | None, spec: Spec, locate: Locate) -> None:
        if before is not None:
            before.cancel()
            await asyncio.wait({before})
        try:
            await self._swap(spec, await locate())
            self._failure = None
        except LoadError as failure:
            self._failure = failure

    async def _swap(self, spec: Spec, located: Sequence[Located]) -> None:
        kept = {version.key: version for version in self._serving if not version.group.has_given_up}
        wanted = []
        for one in located:
            key = _key(spec, one)
            version = kept.pop(key, None) or self._new_version(spec, one, key)
            wanted.append((version, one))
        self._starting = [version for version, _ in wanted if version not in self._serving]
        self._tell()
        try:
            for version, _ in wanted:
                version.group.scale(spec.replicas)
            await asyncio.gather(*(version.group.ready() for version, _ in wanted))
        except BaseException:
            for version in self._starting:
                self._retire(version)
            self._starting = []
            raise
        for version in self._serving:
            if all(version is not one for one, _ in wanted):
                version.group.retire()
                self._retire(version)
        for version, one in wanted:
            version.uri, version.weight, version.turn = one.uri, one.weight, 0
        self._serving = [version for version, _ in wanted]
        self._starting = []

    def _new_version(self, spec: Spec, one: Located, key: tuple[object, ...]) -> _Version:
        process = ProcessSpec(
            label=f"{spec.name} ({one.resolved_uri})",
            path=one.path,
            environment=spec.environment,
            memory_limit=spec.memory_limit,
            concurrency=spec.concurrency,
        )
        group = Group(
            one.resolved_uri,
            process,
            spec.predict_timeout,
            self._most_waiting,
            spec.max_batch_calls,
            self._tell,
        )
        return _Version(one.uri, key, group, one.weight)

    def _retire(self, version: _Version) -> None:
        """Let a version end its calls in the background, and stop it."""

        async def retire() -> None:
            try:
                await version.group.drain()
            finally:
                await version.group.stop()
                self._draining.remove(version)
                self._tell()

        self._draining.append(version)
        task = asyncio.create_task(retire())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def undeploy(self) -> None:
        """Take no more calls, end those that were taken, and stop everything."""
        self._undeployed = True
        await self._give_up_change()
        for version in self._serving:
            self._retire(version)
        self._serving = []
        self._tell()
        while self._background:
            await asyncio.wait(self._background)
        self.end_watches(None)

    async def close(self) -> None:
        """Stop everything now."""
        self._closed = True
        await self._give_up_change()
        for task in self._background:
            task.cancel()
        everything = [*self._serving, *self._starting, *self._draining]
        self._serving = []
        await asyncio.gather(*(version.group.stop() for version in everything))
        if self._background:
            await asyncio.wait(self._background)

    async def _give_up_change(self) -> None:
        if self._change is not None:
            self._change.cancel()
            with suppress(asyncio.CancelledError):
                await self._change

    # How it is asked.

    async def choose(self, size: int, version: str | None = None) -> Group:
        """Return the group whose turn it is, or that of a version; waits while there is none yet.

        Each has as many turns in a row of calls as its weight says, spread evenly; none while
        others can answer and it cannot. `size` is what a call that waits keeps in memory, in bytes.
        """
        while not self._serving or (self.is_changing and self._has_given_up):
            if self._undeployed:
                raise NotFoundError("served model", self.spec.name)
            if self._closed:
                raise stopped()
            if self._change is None or self._change.done():
                await self.settled()
                continue
            with self._in_line(size):
                await asyncio.wait({self._change})
        if version:
            for one in self._serving:
                if one.group.uri.rpartition("/")[2] == version:
                    return one.group
            raise NotFoundError("version", f"{self.spec.name}/{version}")
        able = [one for one in self._serving if one.group.can_answer] or self._serving
        for one in able:
            one.turn += one.weight
        chosen = max(able, key=lambda one: one.turn)
        chosen.turn -= sum(one.weight for one in able)
        return chosen.group

    @contextmanager
    def _in_line(self, size: int) -> Iterator[None]:
        """Raises QueueFullError if too many wait already."""
        check_room(size, self._waiting, self._waiting_bytes, self._most_waiting)
        self._waiting += 1
        self._waiting_bytes += size
        try:
            yield
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size

    @property
    def paths(self) -> set[Path]:
        """The folders of all models that are served, or will be, or still drain."""
        versions = [*self._serving, *self._starting, *self._draining]
        return {version.group.path for version in versions}

    @property
    def infos(self) -> TensorInfos:
        """The inputs and outputs of the first version."""
        return self._serving[0].group.infos if self._serving else TensorInfos()


def _key(spec: Spec, one: Located) -> tuple[object, ...]:
    """Return what has to be the same for a group to stay: all but weight and replicas."""
    environment = tuple(sorted(spec.environment.items()))
    limits = (spec.memory_limit, spec.predict_timeout, spec.concurrency, spec.max_batch_calls)
    return (one.resolved_uri, one.path, environment, limits)


def _now_ms() -> int:
    return time.time_ns() // 10**6
