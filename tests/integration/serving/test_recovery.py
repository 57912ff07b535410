"""What becomes of calls when replicas and versions go: they wait, move, or are made again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.artifacts import wait_for
from tests.integration.serving.house import House, order, predictions
from tests.rpc import describe
from tests.servers import ServerProcess

DEGRADED = pb.SERVED_MODEL_STATE_DEGRADED


@pytest.fixture(scope="module")
def versions(house: House) -> str:
    """The name of a registered model with two versions that say which they are."""
    house.log.misbehaving("moving", "one")
    house.log.misbehaving("moving", "two")
    return "moving"


def variables(**values: object) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def says(response: pb.PredictResponse) -> str:
    return str(predictions(response)[0]).split()[0]


def ask(house: House, name: str, text: str = "") -> grpc.Future:
    return house.stub.Predict.future(order(name, text), timeout=60)


def break_down(house: House, name: str, flag: Path) -> None:
    """End the one replica of the first version; it cannot be loaded any more."""
    flag.touch()
    os.kill(house.get(name).versions[0].replicas[0].pid, signal.SIGKILL)
    house.wait(name, lambda served: served.state == DEGRADED)


def deploy_broken(house: House, versions: str, flag: Path) -> str:
    """Deploy the first version, which then cannot answer while the flag is there."""
    name = house.deploy(f"models:/{versions}/1", environment=variables(UNLOADABLE_WITH=flag))
    break_down(house, name, flag)
    return name


@pytest.mark.slow
def test_bad_calls_do_not_take_a_model_away(house: House) -> None:
    name = house.deploy(house.model("misbehaving"))
    for _ in range(6):
        assert describe(ask(house, name, "exit 3").exception()).reason == "MODEL_CRASHED"
    assert says(ask(house, name).result())
    house.undeploy(name)


def test_calls_that_wait_move_to_a_version_that_can_answer(
    house: House, versions: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    name = deploy_broken(house, versions, flag)
    waiting = [ask(house, name) for _ in range(3)]
    stream = house.stub.PredictStream(stream_order(name, "count 1"), timeout=60)
    house.deploy(f"models:/{versions}/2", name=name)
    assert [says(call.result()) for call in waiting] == ["two"] * 3
    assert len(list(stream)) == 1
    house.wait(name, lambda served: len(served.versions) == 1)
    house.undeploy(name)


def test_a_version_that_cannot_answer_is_left_out(
    house: House, versions: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    split = [{"modelUri": f"models:/{versions}/{number}", "weight": 1} for number in (1, 2)]
    request: dict[str, Any] = {"name": "lame", "models": split, "waitUntilReady": True}
    house.rpcs("DeployModel", **request, environment=variables(UNLOADABLE_WITH=flag))
    break_down(house, "lame", flag)
    assert [says(ask(house, "lame").result()) for _ in range(4)] == ["two"] * 4
    flag.unlink()
    house.wait("lame", lambda served: served.state == pb.SERVED_MODEL_STATE_READY)
    assert {says(ask(house, "lame").result()) for _ in range(4)} == {"one", "two"}
    house.undeploy("lame")


@pytest.mark.slow
def test_who_waits_for_what_never_comes_is_told(
    house: House, versions: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    name = deploy_broken(house, versions, flag)
    waiting = ask(house, name)
    undeploying = house.stub.UndeployModel.future(pb.UndeployModelRequest(name=name), timeout=120)
    assert describe(waiting.exception()).reason == "MODEL_NOT_SERVED"
    undeploying.result()


@pytest.mark.slow
def test_calls_wait_for_what_replaces_a_version_that_is_lost(
    house: House, versions: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    name = deploy_broken(house, versions, flag)
    house.wait(name, lambda served: served.state == pb.SERVED_MODEL_STATE_FAILED)
    environment = variables(LOAD_WITH=tmp_path / "go")
    uri = f"models:/{versions}/2"
    house.rpcs("DeployModel", name=name, modelUri=uri, environment=environment)
    wait_for((tmp_path / "go.loading").exists)
    waiting = ask(house, name)
    # It is in line before this is answered.
    assert house.get(name).state == pb.SERVED_MODEL_STATE_DEPLOYING
    (tmp_path / "go").touch()
    assert says(waiting.result()) == "two"
    house.undeploy(name)


def test_a_call_beside_one_that_ends_the_process_is_made_again(
    house: House, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    name = house.deploy(house.model("misbehaving"), concurrency=2)
    innocent = ask(house, name, f"wait {flag}")
    wait_for(flag.exists)
    guilty = ask(house, name, "exit 3")
    assert describe(guilty.exception()).reason == "MODEL_CRASHED"
    assert says(innocent.result())
    house.undeploy(name)


def stream_order(name: str, text: str) -> pb.PredictStreamRequest:
    request = pb.PredictStreamRequest(name=name)
    request.json.update({"dataframe_records": [{"order": text}]})
    return request


def test_a_stream_that_has_not_begun_is_made_again(house: House, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    name = house.deploy(house.model("misbehaving"))
    request = stream_order(name, f"wait {flag}")
    with ThreadPoolExecutor(1) as pool:
        items = pool.submit(lambda: list(house.stub.PredictStream(request, timeout=60)))
        wait_for(flag.exists)
        os.kill(house.pids(name)[0], signal.SIGKILL)
        assert len(items.result()) == 1
    house.undeploy(name)


def test_a_deployment_that_is_undeployed_is_not_ready(house: House, tmp_path: Path) -> None:
    environment = [pb.EnvironmentVariable(name="LOAD_WITH", value=str(tmp_path / "go"))]
    request = pb.DeployModelRequest(
        name="brief",
        model_uri=house.model("misbehaving"),
        environment=environment,
        wait_until_ready=True,
    )
    deploying = house.stub.DeployModel.future(request, timeout=60)
    wait_for((tmp_path / "go.loading").exists)
    house.undeploy("brief")
    assert describe(deploying.exception()).reason == "SERVED_MODEL_NOT_FOUND"


@pytest.fixture(scope="module")
def narrow(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server over the same stores, where two calls may wait for a model."""
    folder = tmp_path_factory.mktemp("narrow")
    house.model("misbehaving")
    stores = (
        *("--backend-store-uri", f"sqlite:///{house.folder}/mlflow.db"),
        *("--artifacts-destination", str(house.folder / "mlartifacts")),
    )
    with (
        ServerProcess(folder, *stores, "--serving-queue", "2") as server,
        House(folder, server.address) as narrow,
    ):
        yield narrow


def test_no_more_wait_for_a_model_than_may(house: House, narrow: House, tmp_path: Path) -> None:
    environment = variables(LOAD_WITH=tmp_path / "go")
    uri = house.model("misbehaving")
    narrow.rpcs("DeployModel", name="slow", modelUri=uri, environment=environment)
    calls = [ask(narrow, "slow") for _ in range(5)]
    wait_for(lambda: sum(call.done() for call in calls) == 3)
    (tmp_path / "go").touch()
    failures = [call.exception() for call in calls]
    refused = [describe(one).reason for one in failures if one is not None]
    assert refused == ["TOO_MANY_CALLS_WAITING"] * 3
    narrow.undeploy("slow")


def test_calls_that_were_given_up_keep_no_place_in_line(
    house: House, narrow: House, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    name = narrow.deploy(house.model("misbehaving"), maxBatchCalls=8)
    busy = ask(narrow, name, f"wait {flag}")
    wait_for(flag.exists)
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            narrow.stub.Predict(order(name, ""), timeout=0.1)
    waiting = ask(narrow, name)
    # It is in line before this is answered.
    assert narrow.get(name).state == pb.SERVED_MODEL_STATE_READY
    flag.unlink()
    assert says(waiting.result())
    assert says(busy.result())
    narrow.undeploy(name)


def test_what_a_replica_loads_does_not_keep_it(house: House, versions: str, tmp_path: Path) -> None:
    """One that is too many is gone, whatever it was doing; the others stay."""
    go = tmp_path / "go"
    go.touch()
    request: dict[str, Any] = {
        "name": "loading",
        "modelUri": f"models:/{versions}/1",
        "environment": variables(LOAD_WITH=go),
    }
    house.rpcs("DeployModel", **request, waitUntilReady=True)
    (kept,) = house.pids("loading")
    go.unlink()
    (tmp_path / "go.loading").unlink()
    house.rpcs("DeployModel", **request, replicas=2)
    wait_for((tmp_path / "go.loading").exists)
    (extra,) = set(house.pids("loading")) - {kept}
    house.rpcs("DeployModel", **request, waitUntilReady=True)
    wait_for(lambda: not Path(f"/proc/{extra}").exists())
    assert house.pids("loading") == [kept]
    house.undeploy("loading")


@pytest.mark.slow
def test_a_replica_that_could_not_be_loaded_is_tried_again_when_asked(
    house: House, versions: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    request: dict[str, Any] = {
        "name": "again",
        "modelUri": f"models:/{versions}/1",
        "environment": variables(UNLOADABLE_WITH=flag),
        "waitUntilReady": True,
    }
    house.rpcs("DeployModel", **request)
    flag.touch()
    failure = house.rpcs.failure("DeployModel", **request, replicas=2)
    assert failure.reason == "MODEL_NOT_LOADED"
    flag.unlink()
    served = house.rpcs("DeployModel", **request, replicas=2).served_model
    assert served.state == pb.SERVED_MODEL_STATE_READY
    assert len(house.pids("again")) == 2
    house.undeploy("again")


@pytest.mark.slow
def test_a_process_that_hangs_up_is_ended(house: House) -> None:
    name = house.deploy(house.model("misbehaving"))
    failure = describe(ask(house, name, "hang-up").exception())
    assert failure.reason == "MODEL_CRASHED"
    assert "closed the connection" in failure.message
    assert says(ask(house, name).result())
    house.undeploy(name)
