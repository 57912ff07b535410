"""Deployments in a target of MLflow's own `mlflow.deployments` interface."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import Message
from mlflow.deployments import BaseDeploymentClient
from mlflow.exceptions import MlflowException

from mlflow_grpc._structs import from_struct, to_value
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

__all__ = ["TargetEngine"]

_THREADS = 32

_logger = logging.getLogger(__name__)


class _Deploying:
    """What this server asked the target for last under a name, and what became of it."""

    def __init__(self, spec: Spec, resolved_uri: str, task: asyncio.Task[None]) -> None:
        self.spec = spec
        self.resolved_uri = resolved_uri
        self.task = task
        self.reason = ""


class TargetEngine:
    """Deployments that live in a target, which also remembers them.

    What a target can do differs: replicas, environment, limits and concurrency are handed to it
    as its `config`, where they are not the defaults. Params, shares by weight and the following
    of aliases are not part of its interface.
    """

    def __init__(
        self, client: BaseDeploymentClient, models: Models, most_waiting: int, poll_seconds: float
    ) -> None:
        self._client = client
        self._models = models
        self._pool = BlockingPool(_THREADS, most_waiting)
        self._poll_seconds = poll_seconds
        self._asked: dict[str, _Deploying] = {}
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Do nothing: the target remembers what is deployed."""

    def end_watches(self) -> None:
        """End every watch with ServerStoppingError, now and from now on."""
        self._stopping.set()

    async def close(self) -> None:
        """Return when no call to the target is running."""
        await self._pool.close()

    async def deploy(self, spec: Spec, *, wait: bool) -> Served:
        """Create or update the deployment of that name in the target."""
        if len(spec.models) > 1:
            raise InvalidFieldError("models", "must be one: a serving target takes no shares")
        resolved = await self._pool.run(self._models.resolve, spec.models[0].uri)
        task = asyncio.create_task(self._deploy(spec, resolved))
        self._asked[spec.name] = _Deploying(spec, resolved, task)
        if wait:
            await asyncio.shield(task)
            if reason := self._asked[spec.name].reason:
                text = f"The model {spec.name!r} cannot be served: {reason}"
                raise FailedPreconditionError("MODEL_NOT_LOADED", text, {"name": spec.name})
        return await self.get(spec.name)

    async def _deploy(self, spec: Spec, resolved: str) -> None:
        try:
            exists = await self._exists(spec.name)
            change = self._client.update_deployment if exists else self._client.create_deployment
            await self._ask(spec.name, change, spec.name, resolved, config=_config(spec))
        except RequestError as error:
            self._asked[spec.name].reason = error.message
        except MlflowException as error:
            self._asked[spec.name].reason = error.message

    async def undeploy(self, name: str) -> None:
        """Delete the deployment from the target."""
        if name in self._asked:
            await asyncio.wait({self._asked.pop(name).task})
        elif not await self._exists(name):
            raise NotFoundError("served model", name)
        if await self._exists(name):
            await self._ask(name, self._client.delete_deployment, name)

    async def get(self, name: str) -> Served:
        """Return a served model as the target has it."""
        asked = self._asked.get(name)
        if asked is not None and not asked.task.done():
            return _view(name, asked, ModelState.DEPLOYING)
        if await self._exists(name):
            return _view(name, asked, ModelState.DEGRADED if asked and asked.reason else None)
        if asked is not None and asked.reason:
            return _view(name, asked, ModelState.FAILED)
        raise NotFoundError("served model", name)

    async def list_all(self) -> list[Served]:
        """Return all that the target has, and what is being deployed to it."""
        found = await self._ask("", self._client.list_deployments)
        names = {str(one["name"]) for one in found} | set(self._asked)
        return [await self.get(name) for name in sorted(names)]

    async def watch(self, name: str) -> AsyncIterator[Served]:
        """Yield a served model now and at every change, until the target has it no more."""
        last = await self.get(name)
        yield last
        while True:
            if self._stopping.is_set():
                raise ServerStoppingError
            stopping = asyncio.create_task(self._stopping.wait())
            asked = self._asked.get(name)
            pending = {asked.task} if asked is not None and not asked.task.done() else set()
            await asyncio.wait(
                {stopping, *pending},
                timeout=self._poll_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            stopping.cancel()
            try:
                now = await self.get(name)
            except NotFoundError:
                return
            if now != last:
                yield now
            last = now

    async def predict(self, name: str, request: bytes, version: str = "") -> Answer:
        """Return the target's answer."""
        # Here, as pyarrow is of no use to a server without a target.
        from mlflow_grpc_server.serving import payloads

        with _invalid():
            question = payloads.parse_request(pb.PredictRequest.FromString(request), None, None)
        if question.params:
            raise UnimplementedError("NO_PARAMS", "A serving target takes no params.")
        answer = await self._ask(name, self._client.predict, name, question.data)
        if hasattr(answer, "get_predictions"):
            answer = answer.get_predictions()
        return Answer(payloads.encode_answer(answer, question, None), self._uri(name))

    async def stream(self, name: str, request: bytes) -> AsyncGenerator[Answer, None]:
        """Yield what the target yields."""
        from mlflow_grpc_server.serving import payloads

        parsed = from_struct(pb.PredictStreamRequest.FromString(request).json)
        with _invalid():
            question = payloads.parse_json(parsed, None, None)
        items = iter(await self._ask(name, self._client.predict_stream, name, question.data))
        end = object()
        while (item := await self._ask(name, next, items, end)) is not end:
            value: Message = to_value(item)
            yield Answer(value.SerializeToString(), self._uri(name))

    async def infos(self, name: str) -> TensorInfos:
        """Return nothing: a target does not tell."""
        return TensorInfos()

    def _uri(self, name: str) -> str:
        asked = self._asked.get(name)
        return asked.resolved_uri if asked is not None else ""

    async def _exists(self, name: str) -> bool:
        found = await self._ask(name, self._client.list_deployments)
        return any(one["name"] == name for one in found)

    async def _ask(self, name: str, call: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Return what a call of the target returns; what it raises is mapped."""
        try:
            return await self._pool.run(call, *args, **kwargs)
        except MlflowException as error:
            if error.error_code in NOT_FOUND_CODES:
                raise NotFoundError("served model", name) from error
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


@contextmanager
def _invalid() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise InvalidFieldError("payload", error.message) from error


def _config(spec: Spec) -> dict[str, Any] | None:
    default = Spec(spec.name, spec.models)
    names = (
        *("replicas", "environment", "memory_limit"),
        *("predict_timeout", "concurrency", "max_batch_calls"),
    )
    given = {name: getattr(spec, name) for name in names}
    changed = {name: value for name, value in given.items() if value != getattr(default, name)}
    return changed or None


def _view(name: str, asked: _Deploying | None, state: ModelState | None) -> Served:
    if asked is None:
        return Served(Spec(name, ()), state or ModelState.READY, ())
    version = VersionView(asked.spec.models[0].uri, asked.resolved_uri, 1, ())
    return Served(asked.spec, state or ModelState.READY, (version,), asked.reason)
