"""What a model, or its process, can do wrong: the right status, and the next call is answered."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.artifacts import wait_for
from tests.integration.serving.house import House, order, predictions
from tests.rpc import Failure, describe
from tests.servers import ServerProcess

INTERNAL = grpc.StatusCode.INTERNAL
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
TIMEOUT = grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture(scope="module")
def pair(house: House) -> Iterator[str]:
    """A misbehaving model with two replicas."""
    name = house.deploy(house.model("misbehaving"), replicas=2)
    yield name
    house.undeploy(name)


def fail(house: House, request: pb.PredictRequest, timeout: float = 30) -> Failure:
    with pytest.raises(grpc.RpcError) as caught:
        house.stub.Predict(request, timeout=timeout)
    return describe(caught.value)


def answer(house: House, name: str, text: str = "") -> str:
    said = predictions(house.stub.Predict(order(name, text), timeout=60))[0]
    return str(said).strip()


FAULTS = {
    "raise": (INTERNAL, "MODEL_FAILED", "what the model says"),
    "sleep 3600": (TIMEOUT, "PREDICT_TIMEOUT", "10 s"),
    "allocate 2000": (EXHAUSTED, "MODEL_OUT_OF_MEMORY", "600 MiB"),
    "big 33": (EXHAUSTED, "ANSWER_TOO_LARGE", "33,554,432"),
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_of_the_model_costs_its_call_alone(
    house: House, misbehaving: str, text: str
) -> None:
    code, reason, said = FAULTS[text]
    failure = fail(house, order(misbehaving, text))
    assert (failure.code, failure.reason) == (code, reason), failure.message
    assert said in failure.message
    assert answer(house, misbehaving)


def test_a_crash_shows_in_the_state_with_its_reason(house: House, misbehaving: str) -> None:
    house.wait(misbehaving, lambda served: served.state == pb.SERVED_MODEL_STATE_READY)
    restarts = house.get(misbehaving).versions[0].replicas[0].restarts
    failure = fail(house, order(misbehaving, "exit 3"))
    assert (failure.code, failure.reason) == (INTERNAL, "MODEL_CRASHED")
    assert "exited with code 3" in failure.message
    served = house.wait(misbehaving, lambda served: served.state == pb.SERVED_MODEL_STATE_DEGRADED)
    assert "exited with code 3" in served.state_reason
    served = house.wait(misbehaving, lambda served: served.state == pb.SERVED_MODEL_STATE_READY)
    assert served.versions[0].replicas[0].restarts == restarts + 1


def test_a_call_that_its_caller_gives_up_does_not_cost_the_replica(
    house: House, pair: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    before = house.pids(pair)
    call = house.stub.Predict.future(order(pair, f"wait {flag}"), timeout=60)
    wait_for(flag.exists)
    call.cancel()
    # The other replica answers, and after that the server knows that nobody waits for the first.
    answered = {answer(house, pair)}
    assert len(house.pids(pair)) == 2
    flag.unlink()
    wait_for(lambda: answered.add(answer(house, pair)) or len(answered) == 2)
    assert answered == {str(pid) for pid in before}
    assert house.pids(pair) == before


def test_a_killed_replica_costs_no_call(house: House, pair: str, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    house.wait(pair, lambda served: served.state == pb.SERVED_MODEL_STATE_READY)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(answer, house, pair, f"wait {flag}")
        while not flag.exists():
            pass
        busy = busy_pid(house, pair)
        os.kill(busy, signal.SIGKILL)
        assert call.result() not in ("", str(busy))
    house.wait(pair, lambda served: served.state == pb.SERVED_MODEL_STATE_READY)


def busy_pid(house: House, name: str) -> int:
    """Return the replica that another call is waiting in: the one that answers nothing now."""
    free = {answer(house, name) for _ in range(4)}
    assert len(free) == 1
    (busy,) = (pid for pid in house.pids(name) if str(pid) not in free)
    return busy


def load(
    house: House, name: str, stop: threading.Event, failures: list[Failure], done: list[str]
) -> None:
    """Call until told to stop; a call counts as accepted unless there is no such model."""
    while not stop.is_set():
        try:
            done.append(answer(house, name))
        except grpc.RpcError as error:
            failure = describe(error)
            if failure.code is grpc.StatusCode.NOT_FOUND:
                return
            failures.append(failure)


def under_load(house: House, name: str, callers: int) -> tuple[list[Failure], list[str], object]:
    stop, failures, done = threading.Event(), [], []  # type: ignore[var-annotated]
    threads = [
        threading.Thread(target=load, args=(house, name, stop, failures, done))
        for _ in range(callers)
    ]
    for thread in threads:
        thread.start()

    def end() -> None:
        stop.set()
        for thread in threads:
            thread.join()

    return failures, done, end


@pytest.mark.slow
def test_a_kill_under_load_fails_no_call(house: House, pair: str) -> None:
    house.wait(pair, lambda served: served.state == pb.SERVED_MODEL_STATE_READY)
    failures, done, end = under_load(house, pair, 8)
    while len(done) < 50:
        pass
    os.kill(house.pids(pair)[0], signal.SIGKILL)
    while len(done) < 300:
        pass
    end()
    assert failures == []


def test_undeploying_under_load_fails_no_accepted_call(house: House) -> None:
    name = house.deploy(house.model("misbehaving"), replicas=2)
    failures, done, end = under_load(house, name, 8)
    while len(done) < 50:
        pass
    pids = house.pids(name)
    house.undeploy(name)
    end()
    assert failures == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert house.rpcs.failure("GetServedModel", name=name).reason == "SERVED_MODEL_NOT_FOUND"


def test_no_worker_outlives_a_killed_server(house: House, tmp_path: Path) -> None:
    uri = house.model("misbehaving")
    store = ("--backend-store-uri", f"sqlite:///{house.folder}/mlflow.db")
    artifacts = ("--artifacts-destination", str(house.folder / "mlartifacts"))
    with (
        ServerProcess(tmp_path, *store, *artifacts) as server,
        House(tmp_path, server.address) as other,
    ):
        name = other.deploy(uri, replicas=2)
        pids = other.pids(name)
        flag = tmp_path / "flag"
        call = other.stub.Predict.future(order(name, f"wait {flag}"), timeout=60)
        while not flag.exists():
            pass
        server.signal(signal.SIGKILL)
        server.wait()
        assert call.exception() is not None
        while any(running(pid) for pid in pids):
            pass


def running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
