"""Runs as context managers: how they end, whatever ends them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from mlflow_grpc import AsyncClient, InternalError, RunStatus
from mlflow_grpc.v1 import experiment_service_pb2 as pb
from mlflow_grpc.v1 import resources_pb2
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer

FINISHED = resources_pb2.RUN_STATUS_FINISHED
FAILED = resources_pb2.RUN_STATUS_FAILED
KILLED = resources_pb2.RUN_STATUS_KILLED


@pytest.fixture(autouse=True)
def runs(server: FakeServer) -> None:
    """The server starts runs of id `r`, and ends them as told."""

    def start(request: Any, context: grpc.ServicerContext) -> Message:
        info = resources_pb2.RunInfo(
            run_id="r",
            experiment_id=request.experiment_id,
            status=resources_pb2.RUN_STATUS_RUNNING,
        )
        return pb.StartRunResponse(run=resources_pb2.Run(info=info))

    def end(request: Any, context: grpc.ServicerContext) -> Message:
        info = resources_pb2.RunInfo(run_id="r", status=request.status, end_time=request.end_time)
        return pb.EndRunResponse(run=resources_pb2.Run(info=info))

    server.answers.update(StartRun=start, EndRun=end)


def statuses(server: FakeServer) -> list[int]:
    return [request.status for request in server.requests("EndRun")]


async def in_run(driver: Driver, error: BaseException | None = None, **arguments: Any) -> Any:
    """A run whose block raises `error`, or does not."""
    if driver.kind == "sync":
        with driver.client.start_run(**arguments) as run:  # type: ignore[union-attr]
            if error is not None:
                raise error
    else:
        async with driver.client.start_run(**arguments) as run:  # type: ignore[union-attr]
            if error is not None:
                raise error
    return run


async def test_a_run_that_ends_well_is_finished(server: FakeServer, driver: Driver) -> None:
    run = await in_run(driver)
    assert run.run_id == "r"
    assert run.info.status is RunStatus.FINISHED
    assert statuses(server) == [FINISHED]
    assert server.requests("EndRun")[0].HasField("end_time")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ZeroDivisionError, FAILED),
        (SystemExit, FAILED),
        (KeyboardInterrupt, KILLED),
        (asyncio.CancelledError, KILLED),
    ],
)
async def test_what_ends_a_run_decides_its_status(
    kind: type[BaseException], status: int, server: FakeServer, driver: Driver
) -> None:
    # Made here: its traceback holds the client, which must not live until the interpreter ends.
    error = kind("loss")
    with pytest.raises(kind) as caught:
        await in_run(driver, error)
    assert caught.value is error
    assert statuses(server) == [status]


async def test_a_cancelled_task_kills_its_run(server: FakeServer) -> None:
    started = asyncio.Event()

    async def train() -> None:
        async with AsyncClient(server.target) as client, client.start_run():
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(train())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert statuses(server) == [KILLED]


async def test_a_run_that_cannot_be_ended_hides_no_error(
    server: FakeServer, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["EndRun"] = lambda request, context: context.abort(
        grpc.StatusCode.INTERNAL, "broken"
    )
    with (
        caplog.at_level(logging.WARNING, logger="mlflow_grpc"),
        pytest.raises(ZeroDivisionError, match="loss"),
    ):
        await in_run(driver, ZeroDivisionError("loss"))
    assert caplog.messages == ["could not end run r"]


async def test_a_run_that_cannot_be_ended_says_so(server: FakeServer, driver: Driver) -> None:
    server.answers["EndRun"] = lambda request, context: context.abort(
        grpc.StatusCode.INTERNAL, "broken"
    )
    with pytest.raises(InternalError):
        await in_run(driver)


async def test_a_run_ends_without_a_block(server: FakeServer, driver: Driver) -> None:
    run = await driver.call("start_run")
    assert statuses(server) == []
    await driver.call("end", "KILLED", 1500, on=run)
    assert statuses(server) == [KILLED]
    assert run.info.end_time == 1500


async def test_a_run_ended_in_its_block_is_not_ended_again(
    server: FakeServer, driver: Driver
) -> None:
    if driver.kind == "sync":
        with driver.client.start_run() as run:  # type: ignore[union-attr]
            run.end("FAILED")
    else:
        async with driver.client.start_run() as run:  # type: ignore[union-attr]
            await run.end("FAILED")
    assert statuses(server) == [FAILED]


async def test_an_asynchronous_run_starts_when_awaited_and_once(server: FakeServer) -> None:
    async with AsyncClient(server.target) as client:
        starting = client.start_run()
        assert server.calls == []
        run = await starting
        async with starting as same, run:
            assert same is run
    assert len(server.requests("StartRun")) == 1
    assert statuses(server) == [FINISHED]


async def test_a_run_is_started_as_told(server: FakeServer, driver: Driver) -> None:
    await in_run(
        driver,
        experiment_id="7",
        run_name="n",
        tags={"a": 1},
        description="d",
        start_time=1500,
    )
    (request,) = server.requests("StartRun")
    assert (request.experiment_id, request.run_name) == ("7", "n")
    assert [(tag.key, tag.value) for tag in request.tags] == [("a", "1")]
    assert request.description == "d"
    assert request.start_time.ToMilliseconds() == 1500


async def test_the_default_experiment_is_0(server: FakeServer, driver: Driver) -> None:
    await in_run(driver)
    (request,) = server.requests("StartRun")
    assert request.experiment_id == "0"
    assert request.HasField("start_time")


async def test_an_experiment_is_found_by_its_name(server: FakeServer, driver: Driver) -> None:
    server.answers["GetExperimentByName"] = lambda request, context: _found("4")
    await in_run(driver, experiment_name="vision")
    assert server.requests("StartRun")[0].experiment_id == "4"
    assert server.requests("CreateExperiment") == []


async def test_an_experiment_that_is_not_there_is_created(
    server: FakeServer, driver: Driver
) -> None:
    server.answers["GetExperimentByName"] = _not_found
    server.answers["CreateExperiment"] = lambda request, context: pb.CreateExperimentResponse(
        experiment=resources_pb2.Experiment(experiment_id="5")
    )
    await in_run(driver, experiment_name="vision")
    assert server.requests("CreateExperiment")[0].name == "vision"
    assert server.requests("StartRun")[0].experiment_id == "5"


async def test_another_trainer_may_create_the_experiment_first(
    server: FakeServer, driver: Driver
) -> None:
    def taken(request: Any, context: grpc.ServicerContext) -> Message:
        server.answers["GetExperimentByName"] = lambda request, context: _found("6")
        context.abort(grpc.StatusCode.ALREADY_EXISTS, "taken")

    server.answers["GetExperimentByName"] = _not_found
    server.answers["CreateExperiment"] = taken
    await in_run(driver, experiment_name="vision")
    assert server.requests("StartRun")[0].experiment_id == "6"


def _found(experiment_id: str) -> Message:
    return pb.GetExperimentByNameResponse(
        experiment=resources_pb2.Experiment(experiment_id=experiment_id)
    )


def _not_found(request: Any, context: grpc.ServicerContext) -> Message:
    context.abort(grpc.StatusCode.NOT_FOUND, "none")


async def test_an_experiment_is_given_once(server: FakeServer, driver: Driver) -> None:
    with pytest.raises(ValueError, match="not both"):
        await in_run(driver, experiment_id="0", experiment_name="vision")
    assert server.calls == []


async def test_a_run_logs_what_the_client_logs(server: FakeServer, driver: Driver) -> None:
    run = await driver.call("start_run")
    for name, arguments, rpc in [
        ("log_metric", ("loss", 0.5), "StreamMetrics"),
        ("log_metrics", ({"loss": 0.5}, 3), "StreamMetrics"),
        ("log_param", ("lr", 0.1), "LogParams"),
        ("log_params", ({"lr": 0.1},), "LogParams"),
        ("set_tag", ("team", "a"), "SetTags"),
        ("set_tags", ({"team": "a"},), "SetTags"),
        ("log_inputs", (), "LogInputs"),
    ]:
        server.calls.clear()
        assert await driver.call(name, *arguments, on=run) is None
        await driver.call("flush", on=run)
        assert [(call.method, call.request.run_id) for call in server.calls] == [(rpc, "r")]
