"""Every RPC with every kind of bad input: the right status, the field's name, no stored change."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import sqlalchemy
from google.api import field_behavior_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.conftest import Served
from tests.integration.bad_input import experiments, registry, runs, serving
from tests.integration.bad_input.rows import INVALID, World, metric, param
from tests.rpc import Failure, Rpcs, describe, methods
from tests.servers import ServerProcess

ROWS = [*experiments.ROWS, *runs.ROWS, *registry.ROWS, *serving.ROWS]


@dataclass(frozen=True)
class Store:
    """A server, and everything that its database holds."""

    rpcs: Rpcs
    dump: Callable[[], dict[str, list[str]]]


@pytest.fixture(
    scope="module",
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("mariadb", marks=pytest.mark.slow),
    ],
)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            served: Served = request.getfixturevalue("served")
            address, uri = served.address, served.backend_store_uri
        else:
            uri = request.getfixturevalue(request.param)
            folder = tmp_path_factory.mktemp("matrix")
            server = stack.enter_context(ServerProcess(folder, "--backend-store-uri", uri))
            address = server.address
        channel = stack.enter_context(grpc.insecure_channel(address))
        engine = sqlalchemy.create_engine(uri)
        stack.callback(engine.dispose)
        tables = sqlalchemy.MetaData()
        tables.reflect(engine)

        def dump() -> dict[str, list[str]]:
            with engine.connect() as connection:
                return {
                    table.name: sorted(map(repr, connection.execute(sqlalchemy.select(table))))
                    for table in tables.tables.values()
                }

        yield Store(Rpcs(channel), dump)


@pytest.fixture(scope="module")
def world(store: Store) -> World:
    rpcs = store.rpcs
    name = f"matrix-{uuid.uuid4().hex}"

    def experiment(suffix: str) -> str:
        return str(rpcs("CreateExperiment", name=name + suffix).experiment.experiment_id)

    def run(experiment_id: str) -> str:
        return str(rpcs("StartRun", experimentId=experiment_id).run.info.run_id)

    kept, deleted = experiment(""), experiment("-deleted")
    rpcs("DeleteExperiment", experimentId=deleted)
    run_id, deleted_run = run(kept), run(kept)
    rpcs("LogBatch", runId=run_id, **metric(), **param())
    rpcs("DeleteRun", runId=deleted_run)
    for suffix in ("", "-other"):
        rpcs("RegisterModel", name=name + suffix, source=f"runs:/{run_id}/model")
    token = rpcs("ListExperiments", pageSize=1, orderBy=["name"]).next_page_token
    return World(name, kept, deleted, run_id, deleted_run, name, name + "-other", token)


def check_is_described(failure: Failure) -> None:
    assert failure.domain == "mlflow-grpc"
    assert failure.reason == failure.reason.upper() != ""
    assert failure.metadata["request_id"] == failure.request_id != ""


@pytest.mark.parametrize(
    ("rpc", "request_of", "code", "field"),
    ROWS,
    ids=[f"{i}-{row[0]}" for i, row in enumerate(ROWS)],
)
def test_bad_input_is_named_and_stores_nothing(
    store: Store,
    world: World,
    rpc: str,
    request_of: Callable[[World], dict[str, Any]],
    code: grpc.StatusCode,
    field: str,
) -> None:
    before = store.dump()
    failure = store.rpcs.failure(rpc, **request_of(world))
    assert (failure.code, failure.fields) == (code, (field,) if field else ()), failure.message
    check_is_described(failure)
    assert store.dump() == before


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: str(method.name))
def test_an_empty_request_names_a_required_field(rpcs: Rpcs, method: Any) -> None:
    required = {
        field.name
        for field in method.input_type.fields
        if field_behavior_pb2.REQUIRED
        in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        or (field.containing_oneof is not None and field.containing_oneof.name == "owner")
    }
    message = GetMessageClass(method.input_type)()
    if not required:
        rpcs.send(method, message)
        return
    with pytest.raises(grpc.RpcError) as caught:
        rpcs.send(method, message)
    failure = describe(caught.value)
    assert failure.code is INVALID
    assert set(failure.fields) <= required
    check_is_described(failure)


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: str(method.name))
def test_bytes_that_are_no_request_are_bad_input(served: Served, method: MethodDescriptor) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    with grpc.insecure_channel(served.address) as channel:
        # On the wire, one message of a stream is what a request alone is.
        call = channel.stream_stream(path)(iter([b"\xff\xff\xff\xff"]), timeout=30)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    failure = describe(caught.value)
    assert (failure.code, failure.reason) == (INVALID, "MALFORMED_REQUEST"), failure.message
    check_is_described(failure)


def test_every_request_field_says_whether_it_is_required() -> None:
    for method in methods():
        for field in method.input_type.fields:
            behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
            assert list(behavior) in ([field_behavior_pb2.REQUIRED], [field_behavior_pb2.OPTIONAL])
