"""Model serving."""

# Made from _sync/serving.py by tests/unit/client/twins.py; do not edit.

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._calls import serving as calls
from mlflow_grpc._served import ServedModel


class AsyncServingMethods(AsyncCaller):
    """The methods about served models and their predictions.

    All that name a served model raise `NotFoundError` if there is none. `timeout` is in seconds.
    """

    async def deploy_model(
        self,
        name: str,
        model: str | Mapping[str, int],
        *,
        replicas: int | None = None,
        environment: Mapping[str, str] | None = None,
        memory_limit_bytes: int | None = None,
        predict_timeout: float | None = None,
        concurrency: int | None = None,
        max_batch_calls: int | None = None,
        wait_until_ready: bool = False,
        timeout: float | None = None,
    ) -> ServedModel:
        """Deploys a model under a name, or changes what is deployed under it.

        `model` is a URI such as `models:/iris/3`, `models:/iris@champion` or
        `runs:/RUN_ID/model`, or a dict of several URIs and their shares of the calls. An alias,
        a stage and `latest` are followed when they move. `replicas` is how many processes each
        version has (default 1, maximum 64), `environment` what is set in theirs,
        `memory_limit_bytes` the most that one may use (default: no limit), `predict_timeout` how
        many seconds a prediction may take (default 60, maximum 3,600), `concurrency` how many
        predictions a process makes at one time (default 1, maximum 64), and `max_batch_calls`
        how many waiting calls may be made of the model as one (maximum 1,000), for models whose
        answer for a row does not depend on the other rows; the default is up to 32 small calls for
        scikit-learn's own trees and forests, which are such models, and 1 for all others.

        What served under the name before serves until the new versions are ready. Returns at
        once, in the state DEPLOYING, or with `wait_until_ready` when all of it is READY.
        `timeout` is in seconds.

        Raises `NotFoundError` if the model does not exist, and `FailedPreconditionError`, with
        `wait_until_ready`, if it cannot be loaded.
        """
        call = calls.deploy_model(
            name,
            model,
            replicas,
            environment,
            memory_limit_bytes,
            predict_timeout,
            concurrency,
            max_batch_calls,
            wait_until_ready,
        )
        return await self._call(call, timeout)

    async def list_served_models(self, *, timeout: float | None = None) -> list[ServedModel]:
        """Lists the served models, by name. `timeout` is in seconds."""
        return await self._call(calls.list_served_models(), timeout)

    async def get_served_model(self, name: str, *, timeout: float | None = None) -> ServedModel:
        """Gets a served model. `timeout` is in seconds.

        Raises `NotFoundError` if there is none.
        """
        return await self._call(calls.get_served_model(name), timeout)

    def watch_served_model(
        self, name: str, *, timeout: float | None = None
    ) -> AsyncIterator[ServedModel]:
        """Iterates over what becomes of a served model: as it is now, and whenever it changes.

        Ends when the model is undeployed, after it has drained. `timeout` is in seconds, for all
        of it; by default there is none.

        Raises `NotFoundError` if there is no such model, `UnavailableError` when the server
        stops.
        """
        return self._stream(calls.watch_served_model(name), timeout)

    async def wait_until_model_ready(
        self, name: str, *, timeout: float | None = None
    ) -> ServedModel:
        """Waits until a served model is READY, for up to `timeout` seconds, and returns it.

        Raises `NotFoundError` if there is none or it is undeployed meanwhile,
        `FailedPreconditionError` if it is FAILED, `DeadlineExceededError` if it is not READY by
        then.
        """
        return await self._call_until(calls.watch_served_model(name), calls.is_ready, timeout)

    async def predict(
        self,
        name: str,
        data: Any,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Predicts with a served model; the answer is of the same kind as `data`.

        A numpy array gives an array. A dict of arrays, by the names of the model's inputs, gives
        a dict of arrays. A pandas data frame gives a data frame (that needs the extra `pandas`).
        A list gives a list: of dicts, it is rows with named columns, which keep their order. Any
        other dict is the body of a call of MLflow's `/invocations`, or else its `inputs`, and
        gives the answer's body. Lists and dicts hold what JSON can, tuples, and what numpy has
        of that; a whole float arrives as an integer unless the signature says what it is, while
        arrays and data frames keep their types. `params` are those of the model's signature.
        `timeout` is in seconds.

        Raises `InvalidArgumentError` for data that does not fit the model, with MLflow's
        explanation, `InternalError` if the model fails, `ResourceExhaustedError` if it takes too
        much memory or too many calls wait, `FailedPreconditionError` if it is FAILED,
        `TypeError` for data of another kind, or that holds what cannot be sent.
        """
        return await self._call(calls.predict(name, data, params), timeout)

    def predict_stream(
        self,
        name: str,
        data: Any,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[Any]:
        """Iterates over what a model with `predict_stream` yields for `data`, a list or a dict.

        The model goes on when an item is taken. `timeout` is in seconds, for all of it; by
        default there is none.

        Raises what `predict` raises, while iterating, and `UnimplementedError` for a model
        without `predict_stream`.
        """
        return self._stream(calls.predict_stream(name, data, params), timeout)

    async def undeploy_model(self, name: str, *, timeout: float | None = None) -> None:
        """Undeploys a model, and returns when its calls have ended. `timeout` is in seconds.

        Raises `NotFoundError` if there is none.
        """
        await self._call(calls.undeploy_model(name), timeout)
