"""Deployments on this machine, in processes that this server starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from mlflow.exceptions import MlflowException

from mlflow_grpc_server.exceptions import NotFoundError, RequestError, ServerStoppingError
from mlflow_grpc_server.serving.answers import MovedError
from mlflow_grpc_server.serving.deployment import Deployment, Located
from mlflow_grpc_server.serving.models import Models, is_followed
from mlflow_grpc_server.serving.replica import LoadError
from mlflow_grpc_server.serving.spec import Answer, Served, Spec, TensorInfos
from mlflow_grpc_server.serving.statefile import Kept, StateFile

__all__ = ["LocalEngine"]

P = ParamSpec("P")
T = TypeVar("T")

# Apart from the threads of calls, which a download would keep from the stores for long.
_THREADS = 4

_logger = logging.getLogger(__name__)


class LocalEngine:
    """Deployments by name. Its methods run on one event loop."""

    def __init__(
        self, models: Models, folder: Path, most_waiting: int, poll_seconds: float
    ) -> None:
        self._models = models
        self._state = StateFile(folder)
        self._most_waiting = most_waiting
        self._poll_seconds = poll_seconds
        self._deployments: dict[str, Deployment] = {}
        self._draining: dict[str, tuple[Deployment, asyncio.Task[None]]] = {}
        self._meant: dict[str, tuple[str, ...]] = {}
        self._restored: set[str] = set()
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="serving")
        self._saving = asyncio.Lock()
        self._poll: asyncio.Task[None] | None = None
        self._stopping = False
        self._closing = False

    async def start(self) -> None:
        """Deploy again what was deployed before, in the background."""
        for kept in await self._run(self._state.load):
            deployment = Deployment(kept.spec, self._most_waiting, kept.create_time_ms)
            self._deployments[kept.spec.name] = deployment
            self._restored.add(kept.spec.name)
            self._change(deployment, kept.spec, None)
        self._poll = asyncio.create_task(self._follow())

    def end_watches(self) -> None:
        """End every watch with ServerStoppingError, now and from now on."""
        self._stopping = True
        for deployment in self._every():
            deployment.end_watches(ServerStoppingError())

    async def close(self) -> None:
        """Stop every worker."""
        self._closing = True
        if self._poll is not None:
            self._poll.cancel()
            with suppress(asyncio.CancelledError):
                await self._poll
        await asyncio.gather(*(deployment.close() for deployment in self._every()))
        for _, task in list(self._draining.values()):
            task.cancel()
            await asyncio.wait({task})
        await asyncio.to_thread(self._executor.shutdown)
        self._state.close()

    async def deploy(self, spec: Spec, *, wait: bool) -> Served:
        """Deploy, and return at once or when what is deployed is ready."""
        meant = await self._resolve(spec)
        await self._run(self._state.require)
        deployment = self._deployments.get(spec.name)
        if deployment is None:
            deployment = self._deployments[spec.name] = Deployment(spec, self._most_waiting)
        self._restored.discard(spec.name)
        self._change(deployment, spec, meant)
        await self._save()
        if wait:
            await deployment.settled()
        return deployment.view()

    async def undeploy(self, name: str) -> None:
        """Take no more calls, and return when those taken have ended."""
        deployment = self._deployments.pop(name, None)
        if deployment is not None:
            task = asyncio.create_task(self._undeploy(name, deployment))
            self._draining[name] = (deployment, task)
            await self._save()
        elif name in self._draining:
            _, task = self._draining[name]
        else:
            raise NotFoundError("served model", name)
        await asyncio.shield(task)

    async def _undeploy(self, name: str, deployment: Deployment) -> None:
        try:
            await deployment.undeploy()
        finally:
            if self._draining.get(name, (None,))[0] is deployment:
                del self._draining[name]
        if name not in self._deployments:
            self._meant.pop(name, None)
        await self._prune()

    async def get(self, name: str) -> Served:
        """Return a served model as it is."""
        return self._find(name).view()

    async def list_all(self) -> list[Served]:
        """Return all served models, by name."""
        named = {**{n: d for n, (d, _) in self._draining.items()}, **self._deployments}
        return [named[name].view() for name in sorted(named)]

    async def watch(self, name: str) -> AsyncIterator[Served]:
        """Yield a served model now and at every change, until it is undeployed."""
        deployment = self._find(name)
        if self._stopping:
            raise ServerStoppingError
        async for served in deployment.watch():
            yield served

    async def predict(self, name: str, request: bytes, version: str = "") -> Answer:
        """Return the PredictResponse to a PredictRequest, by a version if one is named."""
        while True:
            group = await self._called(name).choose(len(request), version)
            with suppress(MovedError):
                return Answer(await group.predict(request), group.uri)

    async def stream(self, name: str, request: bytes) -> AsyncGenerator[Answer, None]:
        """Yield a Value for each item that a model yields for a PredictStreamRequest."""
        while True:
            group = await self._called(name).choose(len(request))
            with suppress(MovedError):
                async with aclosing(group.stream(request)) as items:
                    async for item in items:
                        yield Answer(item, group.uri)
                return

    async def infos(self, name: str) -> TensorInfos:
        """Return the inputs and outputs of a served model."""
        return self._called(name).infos

    def _find(self, name: str) -> Deployment:
        if name in self._draining and name not in self._deployments:
            return self._draining[name][0]
        return self._called(name)

    def _called(self, name: str) -> Deployment:
        found = self._deployments.get(name)
        if found is None:
            raise NotFoundError("served model", name)
        return found

    def _every(self) -> list[Deployment]:
        draining = [deployment for deployment, _ in self._draining.values()]
        return [*self._deployments.values(), *draining]

    # How deployments change.

    async def _resolve(self, spec: Spec) -> tuple[str, ...]:
        meant = []
        for index, one in enumerate(spec.models):
            field = "model_uri" if len(spec.models) == 1 else f"models[{index}].model_uri"
            meant.append(await self._run(self._models.resolve, one.uri, field))
        return tuple(meant)

    def _change(self, deployment: Deployment, spec: Spec, meant: tuple[str, ...] | None) -> None:
        """Serve a spec; `meant` is what its URIs resolve to, None if that is not known yet."""
        if meant is not None:
            self._meant[spec.name] = meant

        async def locate() -> list[Located]:
            try:
                resolved = meant or await self._resolve(spec)
                self._meant[spec.name] = resolved
                located = [
                    Located(one.uri, uri, one.weight, await self._run(self._models.fetch, uri))
                    for one, uri in zip(spec.models, resolved, strict=True)
                ]
            except LoadError:
                raise
            except (RequestError, MlflowException) as error:
                raise LoadError(f"its files cannot be had: {error.message}") from error
            except Exception as error:  # Whatever an artifact store raises.
                _logger.exception("the files of %r cannot be had", spec.name)
                text = f"its files cannot be had: {type(error).__name__}; the server's log has more"
                raise LoadError(text) from error
            return located

        deployment.change(spec, locate)

    async def _follow(self) -> None:
        """Move deployments when what their URIs mean moves; retry those a restart left failed."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            for name, deployment in list(self._deployments.items()):
                try:
                    await self._follow_one(name, deployment)
                except Exception as error:  # The registry may be away; the next round asks again.
                    _logger.warning("cannot tell what %r should serve now: %s", name, error)
            await self._prune()

    async def _follow_one(self, name: str, deployment: Deployment) -> None:
        spec = deployment.spec
        if deployment.is_changing:
            return
        retried = deployment.lacks_files and name in self._restored
        if not retried and not any(is_followed(one.uri) for one in spec.models):
            return
        meant = await self._resolve(spec)
        unchanged = self._deployments.get(name) is deployment and deployment.spec is spec
        if unchanged and (retried or meant != self._meant.get(name)):
            _logger.info("%r moves to %s", name, ", ".join(meant))
            self._change(deployment, spec, meant)

    async def _prune(self) -> None:
        # While nothing is being fetched, and before anything can be.
        fetching = any(deployment.is_changing for deployment in self._every())
        if fetching or self._closing or not self._state.is_owned:
            return
        used = {path for deployment in self._every() for path in deployment.paths}
        try:
            await self._run(self._models.delete, self._models.set_aside(used))
        except OSError:
            _logger.exception("cannot delete models that are not used any more")

    async def _save(self) -> None:
        async with self._saving:
            kept = [Kept(one.spec, one.create_time_ms) for one in self._deployments.values()]
            await self._run(self._state.save, kept)

    async def _run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(call, *args, **kwargs))
