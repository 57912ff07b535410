"""The client's methods against the services' descriptors, both ways."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import mlflow_grpc
from mlflow_grpc import (
    ActiveRun,
    AsyncActiveRun,
    AsyncClient,
    Client,
)
from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._sync.base import Caller
from mlflow_grpc.v1 import experiment_service_pb2
from mlflow_grpc.v1.artifacts_pb2 import ArtifactChunk, DownloadArtifactResponse
from mlflow_grpc.v1.model_serving_service_pb2 import (
    SERVED_MODEL_STATE_READY,
    ServedModel,
    WatchServedModelResponse,
)
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import METHODS, FakeServer
from tests.unit.client.surface import ALSO, LOCAL, NEVER_SENT, STREAMED, SURFACE


def _public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_every_rpc_is_called_by_a_method() -> None:
    surface = [*SURFACE.values(), *STREAMED.values()]
    assert {rpc for _, rpcs in surface for rpc in rpcs} == set(METHODS)


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_every_public_method_is_declared(cls: type) -> None:
    assert _public(cls) == set(SURFACE) | LOCAL


@pytest.mark.parametrize("name", STREAMED)
async def test_a_run_streams(name: str, server: FakeServer, driver: Driver) -> None:
    run = await driver.call("start_run")
    arguments, rpcs = STREAMED[name]
    server.calls.clear()
    await driver.call(name, on=run, **arguments)
    await driver.call("flush", on=run)
    assert [call.method for call in server.calls] == rpcs


@pytest.mark.parametrize("name", SURFACE)
async def test_method_calls_its_rpcs(
    name: str, server: FakeServer, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    for caller in (Caller, AsyncCaller):
        real = caller._stub

        def spy(self: Any, method: Any, real: Any = real) -> Any:
            decoded.append((method.path, method.decode(b"").DESCRIPTOR.full_name))
            return real(self, method)

        monkeypatch.setattr(caller, "_stub", spy)
    arguments, rpcs = SURFACE[name]
    for rpc in rpcs:
        _answer_with_two_pages(server, rpc)

    await driver.call(name, **arguments)

    assert [call.method for call in server.calls] == rpcs
    assert [(path.rpartition("/")[2], response) for path, response in decoded] == [
        (rpc, METHODS[rpc].output_type.full_name) for rpc in rpcs
    ]


def _answer_with_two_pages(server: FakeServer, rpc: str) -> None:
    if rpc == "WatchServedModel":
        ready = ServedModel(state=SERVED_MODEL_STATE_READY)
        server.answers[rpc] = lambda request, context: WatchServedModelResponse(served_model=ready)
    if rpc == "DownloadArtifact":
        empty = ArtifactChunk(path="p", sha256=hashlib.sha256().hexdigest())
        server.answers[rpc] = lambda request, context: DownloadArtifactResponse(chunks=[empty])
    response = GetMessageClass(METHODS[rpc].output_type)
    if rpc == "LogArtifacts":
        server.answers[rpc] = lambda request, context: response(
            artifacts=[{"path": c.path, "sha256": c.sha256} for c in request.chunks]
        )
    if "next_page_token" in response.DESCRIPTOR.fields_by_name:
        server.answers[rpc] = lambda request, context: response(
            next_page_token="" if request.page_token else "t"
        )


async def test_every_field_of_every_request_can_be_set(server: FakeServer, driver: Driver) -> None:
    for name, (arguments, rpcs) in SURFACE.items():
        for rpc in rpcs:
            _answer_with_two_pages(server, rpc)
        await driver.call(name, **arguments)
    for name, arguments in ALSO:
        await driver.call(name, **arguments)
    await driver.call("watch_run", "r", cursor="c")
    server.answers["StartRun"] = lambda request, context: experiment_service_pb2.StartRunResponse(
        run={"info": {"run_id": "r"}}
    )
    run = await driver.call("start_run")
    for name, (arguments, _) in STREAMED.items():
        await driver.call(name, on=run, **arguments)
    await driver.call("flush", on=run)

    seen: set[str] = set()
    for call in server.calls:
        _collect(call.request, seen)
    expected: set[str] = set()
    for method in METHODS.values():
        _declared(method.input_type, expected)
    assert seen == expected - NEVER_SENT


def _collect(message: Message, seen: set[str]) -> None:
    """The fields that are set, here and below."""
    for field, value in message.ListFields():
        seen.add(f"{message.DESCRIPTOR.name}.{field.name}")
        if field.message_type is None or field.message_type.file.package != "mlflow_grpc.v1":
            continue
        if field.message_type.GetOptions().map_entry:
            continue
        for item in value if hasattr(value, "append") or hasattr(value, "add") else [value]:
            _collect(item, seen)


def _declared(descriptor: Any, names: set[str]) -> None:
    for field in descriptor.fields:
        names.add(f"{descriptor.name}.{field.name}")
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.message_type.file.package == "mlflow_grpc.v1":
            _declared(field.message_type, names)


SAME = {
    "AsyncIterator": "Iterator",
    "AsyncClient": "Client",
    "AsyncActiveRun": "ActiveRun",
    "StartingRun": "ActiveRun",
}


@pytest.mark.parametrize(
    ("sync", "aio"),
    [(Client, AsyncClient), (ActiveRun, AsyncActiveRun)],
    ids=["client", "active run"],
)
def test_both_clients_have_the_same_signatures(sync: type, aio: type) -> None:
    assert _public(sync) == _public(aio)
    for name in sorted(_public(sync) | {"__init__"}):
        ours, theirs = getattr(sync, name), getattr(aio, name)
        assert ours.__doc__ or name == "__init__", name
        if isinstance(ours, property):
            ours, theirs = ours.fget, theirs.fget
        here, there = inspect.signature(ours), inspect.signature(theirs)
        if name != "__init__" or sync is Client:
            assert list(here.parameters.values()) == list(there.parameters.values()), name
        returned = there.return_annotation
        for asynchronous, blocking in SAME.items():
            returned = returned.replace(asynchronous, blocking)
        assert here.return_annotation == returned, name


@pytest.mark.parametrize("name", sorted(set(SURFACE) - {"start_run"}))
def test_both_clients_have_the_same_docstrings(name: str) -> None:
    assert getattr(Client, name).__doc__ == getattr(AsyncClient, name).__doc__


def test_all_is_what_the_package_offers() -> None:
    offered = {
        name
        for name, value in vars(mlflow_grpc).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(mlflow_grpc.__all__) == offered
    assert list(mlflow_grpc.__all__) == sorted(mlflow_grpc.__all__)
