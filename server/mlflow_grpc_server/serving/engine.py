"""What every kind of serving can do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from mlflow_grpc_server.serving.spec import Answer, Served, Spec, TensorInfos

__all__ = ["Engine"]


class Engine(Protocol):
    """Where deployments live. All but `start` and `close` may be called at any time between.

    Methods that take a name raise NotFoundError if nothing is deployed under it. Payloads are
    serialized requests and responses of ModelServingService.
    """

    async def start(self) -> None:
        """Deploy again what was deployed before."""

    def end_watches(self) -> None:
        """End every watch with ServerStoppingError, now and from now on."""

    async def close(self) -> None:
        """Let go of everything."""

    async def deploy(self, spec: Spec, *, wait: bool) -> Served:
        """Deploy, and return at once or when what is deployed is ready.

        Raises NotFoundError for a model that does not exist, and FailedPreconditionError, with
        `wait`, for one that cannot be served.
        """

    async def undeploy(self, name: str) -> None:
        """Take no more calls, and return when those taken have ended."""

    async def get(self, name: str) -> Served:
        """Return a served model as it is."""

    async def list_all(self) -> list[Served]:
        """Return all served models, by name."""

    def watch(self, name: str) -> AsyncIterator[Served]:
        """Yield a served model now and at every change, until it is undeployed."""

    async def predict(self, name: str, request: bytes, version: str = "") -> Answer:
        """Return the PredictResponse to a PredictRequest, by a version if one is named."""

    def stream(self, name: str, request: bytes) -> AsyncGenerator[Answer, None]:
        """Yield a Value for each item that a model yields for a PredictStreamRequest."""

    async def infos(self, name: str) -> TensorInfos:
        """Return the inputs and outputs of a served model."""
