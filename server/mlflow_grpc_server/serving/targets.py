"""Deployments in a target of MLflow's own `mlflow.deployments` interface."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

from mlflow.deployments import BaseDeploymentClient
from mlflow.exceptions import MlflowException

from mlflow_grpc._structs import from_struct
from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from mlflow_grpc_server.exceptions import (
    FailedPreconditionError,
    InvalidFieldError,
    NotFoundError,
    RequestError,
    ServerStoppingError,
    ServingUnavailableError,
    UnimplementedError,
)
from mlflow_grpc_server.serving.models import Models
from mlflow_grpc_server.serving.spec import (
    Answer,
    ModelState,
    Served,
    Spec,
    TensorInfos,
    VersionView,
)
from mlflow_grpc_server.tracking.pool import BlockingPool
from mlflow_grpc_server.tracking.refusals import NOT_FOUND_CODES
from mlflow_grpc_server.tracking.uris import without_secrets

__all__ = ["TargetEngine"]

_THREADS = 32
_CLOSING_THREADS = 4

_logger = logging.getLogger(__name__)


class _Deploying:
    """What this server asked the target for last under a name, and what became of it."""

    def __init__(self, spec: Spec, resolved_uri: str) -> None:
        self.spec = spec
        self.resolved_uri = resolved_uri
        self.ended = asyncio.Event()
        self.reason = ""


class TargetEngine:
    """Deployments that live in a target, which also remembers them.

    What a target can do differs: replicas, environment, limits and concurrency are handed to it
    as its `config`, where they are not the defaults. Params, shares by weight and the following
    of aliases are not part of its interface.
    """

    def __init__(
        self,
        client: BaseDeploymentClient,
        uri: str,
        models: Models,
        most_waiting: int,
        poll_seconds: float,
    ) -> None:
        self._client = client
        self._target_uri = uri
        self._models = models
        self._pool = BlockingPool(_THREADS, most_waiting)
        self._poll_seconds = poll_seconds
        self._asked: dict[str, _Deploying] = {}
        self._deploying: set[asyncio.Task[None]] = set()
        # None of them is refused, however many wait.
        self._closing = BlockingPool(_CLOSING_THREADS, sys.maxsize)
        self._ending: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Do nothing: the target remembers what is deployed."""

    def end_watches(self) -> None:
        """End every watch with ServerStoppingError, now and from now on."""
        self._stopping.set()

    async def close(self) -> None:
        """Return when no call to the target is running."""
        await asyncio.gather(*self._deploying, *self._ending)
        await self._pool.close()
        await self._closing.close()

    async def deploy(self, spec: Spec, *, wait: bool) -> Served:
        """Create or update the deployment of that name in the target."""
        if len(spec.models) > 1:
            raise InvalidFieldError("models", "must be one: a serving target takes no shares")
        resolved = await self._pool.run(self._models.resolve, spec.models[0].uri)
        before = self._asked.get(spec.name)
        asked = self._asked[spec.name] = _Deploying(spec, resolved)
        task = asyncio.create_task(self._deploy(asked, before))
        self._deploying.add(task)
        task.add_done_callback(self._deploying.discard)
        if wait:
            await asked.ended.wait()
            if asked.reason:
                text = f"The model {spec.name!r} cannot be served: {asked.reason}"
                raise FailedPreconditionError("MODEL_NOT_LOADED", text, {"name": spec.name})
        return await self.get(spec.name)

    async def _deploy(self, asked: _Deploying, before: _Deploying | None) -> None:
        """Have the target do what it is asked for, after what it was asked for before."""
        spec, client = asked.spec, self._client
        try:
            if before is not None:
                await before.ended.wait()
            exists = spec.name in await self._names()
            change = client.update_deployment if exists else client.create_deployment
            await self._ask(spec.name, change, spec.name, asked.resolved_uri, config=_config(spec))
        except (RequestError, MlflowException) as error:
            asked.reason = error.message
        finally:
            asked.ended.set()

    async def undeploy(self, name: str) -> None:
        """Delete the deployment from the target, once it has ended what it was asked for."""
        asked = self._asked.get(name)
        if asked is not None:
            await asked.ended.wait()
        if name in await self._names():
            await self._ask(name, self._client.delete_deployment, name)
        elif asked is None:
            raise NotFoundError("served model", name)
        if self._asked.get(name) is asked:
            self._asked.pop(name, None)

    async def get(self, name: str) -> Served:
        """Return a served model as the target has it."""
        asked = self._asked.get(name)
        if asked is not None and not asked.ended.is_set():
            return _view(name, asked, ModelState.DEPLOYING)
        seen = self._seen(name, await self._names())
        if seen is None:
            raise NotFoundError("served model", name)
        return seen

    async def list_all(self) -> list[Served]:
        """Return all that the target has, and what is being deployed to it."""
        names = await self._names()
        seen = [self._seen(name, names) for name in sorted(names | set(self._asked))]
        return [served for served in seen if served is not None]

    async def _names(self) -> set[str]:
        """Return the names that the target has."""
        found = await self._ask("", self._client.list_deployments)
        return {str(one["name"]) for one in found}

    def _seen(self, name: str, names: set[str]) -> Served | None:
        """Return a served model, given what the target has; None if there is none."""
        asked = self._asked.get(name)
        if asked is not None and not asked.ended.is_set():
            return _view(name, asked, ModelState.DEPLOYING)
        failed = asked is not None and bool(asked.reason)
        if name in names:
            return _view(name, asked, ModelState.DEGRADED if failed else ModelState.READY)
        return _view(name, asked, ModelState.FAILED) if failed else None

    async def watch(self, name: str) -> AsyncIterator[Served]:
        """Yield a served model now and at every change, until the target has it no more."""
        last = await self.get(name)
        yield last
        while True:
            if self._stopping.is_set():
                raise ServerStoppingError
            await self._news(self._asked.get(name))
            try:
                now = await self.get(name)
            except NotFoundError:
                return
            if now != last:
                yield now
            last = now

    async def _news(self, asked: _Deploying | None) -> None:
        """Return when it is time to look at the target again."""
        events = [self._stopping]
        if asked is not None and not asked.ended.is_set():
            events.append(asked.ended)
        waiting = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait(waiting, timeout=self._poll_seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()

    async def predict(self, name: str, request: bytes, version: str = "") -> Answer:
        """Return the target's answer."""
        payload = await self._ask(name, _predict, self._client, name, request)
        return Answer(payload, self._uri(name))

    async def stream(self, name: str, request: bytes) -> AsyncGenerator[Answer, None]:
        """Yield what the target yields."""
        items = _Items(self._client, name, request)
        step = asyncio.create_task(self._ask(name, items.next))
        try:
            while True:
                # So it is not cancelled with its caller: what is running runs on.
                await asyncio.wait([step])
                if (payload := step.result()) is None:
                    return
                yield Answer(payload, self._uri(name))
                step = asyncio.create_task(self._ask(name, items.next))
        finally:
            items.is_wanted = False
            ending = asyncio.create_task(self._end(name, items, step))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _end(self, name: str, items: _Items, step: asyncio.Task[Any]) -> None:
        """Close the items of a stream, after the step that is running."""
        await asyncio.gather(step, return_exceptions=True)
        try:
            await self._closing.run(items.close)
        except Exception:  # A plugin raises whatever its cluster's client does.
            _logger.exception("the serving target failed to end a stream of %r", name)

    async def infos(self, name: str) -> TensorInfos:
        """Return nothing: a target does not tell."""
        return TensorInfos()

    def _uri(self, name: str) -> str:
        asked = self._asked.get(name)
        return asked.resolved_uri if asked is not None else ""

    async def _ask(self, name: str, call: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Return what a call of the target returns; what it raises is mapped."""
        try:
            return await self._pool.run(call, *args, **kwargs)
        except MlflowException as error:
            if error.error_code in NOT_FOUND_CODES:
                raise NotFoundError("served model", name) from error
            error.message = without_secrets(error.message, self._target_uri)
            error.args = (error.message,)
            raise
        except NotImplementedError as error:
            raise UnimplementedError(
                "NOT_A_STREAMING_MODEL", "The serving target cannot do that."
            ) from error
        except RequestError:
            raise
        except Exception as error:  # A plugin raises whatever its cluster's client does.
            _logger.exception("the serving target failed over %r", name)
            raise ServingUnavailableError(
                "TARGET_FAILED", f"The serving target failed ({type(error).__name__})."
            ) from error


# What follows blocks. `payloads` is imported there, as pyarrow is of no use to a server without
# a target.


def _predict(client: BaseDeploymentClient, name: str, request: bytes) -> bytes:
    """Return the target's answer, serialized."""
    from mlflow_grpc_server.serving import payloads

    question = payloads.parse_request(pb.PredictRequest.FromString(request), None, None)
    _without_params(question.params)
    answer = client.predict(name, question.data)
    if hasattr(answer, "get_predictions"):
        answer = answer.get_predictions()
    return payloads.encode_answer(answer, question, None)


class _Items:
    """What the target yields."""

    def __init__(self, client: BaseDeploymentClient, name: str, request: bytes) -> None:
        self._client = client
        self._name = name
        self._request = request
        self._items: Iterator[Any] | None = None
        self.is_wanted = True

    def next(self) -> bytes | None:
        """Return the next item, serialized; None if there is no more or it is not wanted."""
        from mlflow_grpc_server.serving import payloads

        if not self.is_wanted:
            return None
        if self._items is None:
            parsed = from_struct(pb.PredictStreamRequest.FromString(self._request).json)
            question = payloads.parse_json(parsed, None, None)
            _without_params(question.params)
            self._items = iter(self._client.predict_stream(self._name, question.data))
        for item in self._items:
            return payloads.encode_item(item)
        return None

    def close(self) -> None:
        """End what yields the items, if it can be ended."""
        close = getattr(self._items, "close", None)
        if close is not None:
            close()


def _without_params(params: dict[str, Any] | None) -> None:
    if params:
        raise UnimplementedError("NO_PARAMS", "A serving target takes no params.")


def _config(spec: Spec) -> dict[str, Any] | None:
    default = Spec(spec.name, spec.models)
    names = (
        *("replicas", "environment", "memory_limit"),
        *("predict_timeout", "concurrency", "max_batch_calls"),
    )
    given = {name: getattr(spec, name) for name in names}
    changed = {name: value for name, value in given.items() if value != getattr(default, name)}
    return changed or None


def _view(name: str, asked: _Deploying | None, state: ModelState) -> Served:
    if asked is None:
        return Served(Spec(name, ()), state, ())
    version = VersionView(asked.spec.models[0].uri, asked.resolved_uri, 1, ())
    return Served(asked.spec, state, (version,), asked.reason)
