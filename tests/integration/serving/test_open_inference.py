"""The Open Inference Protocol, driven by a client that others wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlflow_grpc_server.inference import open_inference_pb2 as pb
from mlflow_grpc_server.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.integration.serving.house import House
from tests.integration.serving.models import COLUMNS
from tests.rpc import describe

FIELDS = """
import json
from tritonclient.grpc import service_pb2
def fields(message):
    own = [[f.name, f.number, f.type, f.is_repeated] for f in message.fields]
    found = {message.full_name: own}
    for nested in message.nested_types:
        found |= fields(nested)
    return found
found = {}
for message in service_pb2.DESCRIPTOR.message_types_by_name.values():
    found |= fields(message)
service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
methods = {m.name: [m.input_type.full_name, m.output_type.full_name] for m in service.methods}
print(json.dumps([found, methods]))
"""


def run(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fields(message: Any) -> dict[str, list[list[Any]]]:
    own = [[f.name, f.number, f.type, f.is_repeated] for f in message.fields]
    found = {message.full_name: own}
    for nested in message.nested_types:
        found |= fields(nested)
    return found


def test_the_messages_are_those_of_the_protocol() -> None:
    theirs, their_methods = run("-c", FIELDS)
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        for name, own in fields(message).items():
            assert [field for field in own if field not in theirs[name]] == []
    (service,) = pb.DESCRIPTOR.services_by_name.values()
    assert service.full_name == "inference.GRPCInferenceService"
    for method in service.methods:
        assert their_methods[method.name] == [
            method.input_type.full_name,
            method.output_type.full_name,
        ]


def test_a_client_of_others_drives_it(house: House) -> None:
    house.model("forest")
    client = str(Path(__file__).parent / "oip_client.py")
    found = run("-W", "error", client, house.address, "forest")
    assert (found["live"], found["ready"], found["before"]) == (True, True, False)
    assert found["server"]["name"] == "mlflow-grpc"
    before = {one["name"]: one for one in found["index before"]["models"]}
    assert before["forest"]["state"] == "UNAVAILABLE"
    assert (found["loaded"], found["version 1"], found["version 9"]) == (True, True, False)
    metadata = found["metadata"]
    assert (metadata["versions"], metadata["platform"]) == (["1"], "mlflow_pyfunc")
    assert [one["name"] for one in metadata["inputs"]] == COLUMNS
    assert {one["datatype"] for one in metadata["inputs"]} == {"FP64"}
    assert metadata["outputs"][0]["datatype"] == "INT64"
    now = {one["name"]: one for one in found["index"]["models"]}
    assert (now["forest"]["state"], now["forest"]["version"]) == ("READY", "1")
    assert found["whole"] == found["columns"] == [0, 2]
    assert found["response"] == ["mine", "1"]
    refused = {what: status for what, (status, _) in found["refused"].items()}
    assert refused == {
        "a column too few": "StatusCode.INVALID_ARGUMENT",
        "an unknown output": "StatusCode.INVALID_ARGUMENT",
        "an unknown version": "StatusCode.NOT_FOUND",
        "an unknown model": "StatusCode.NOT_FOUND",
        "an unknown model to load": "StatusCode.NOT_FOUND",
        "an unknown parameter": "StatusCode.INVALID_ARGUMENT",
    }
    assert "3 columns, and the model takes 4" in found["refused"]["a column too few"][1]
    assert (found["by config"], found["after"]) == (True, False)


def infer(house: House, **request: Any) -> Any:
    return GRPCInferenceServiceStub(house.channel).ModelInfer(
        pb.ModelInferRequest(**request), timeout=30
    )


def test_contents_may_stand_in_typed_fields(house: House, misbehaving: str) -> None:
    given = {"name": "order", "datatype": "BYTES", "shape": [1]}
    contents = pb.InferTensorContents(bytes_contents=[b"environment PATH"])
    answer = infer(house, model_name=misbehaving, inputs=[{**given, "contents": contents}])
    assert (answer.outputs[0].datatype, answer.outputs[0].shape[:]) == ("BYTES", [1])
    assert b"/bin" in answer.raw_output_contents[0]
    for bad, field in (
        ({"inputs": [given], "raw_input_contents": [b"", b""]}, "raw_input_contents"),
        ({"inputs": [{**given, "datatype": "FLOAT"}]}, "inputs[0].datatype"),
        ({"inputs": [given]}, "tensors.tensors[0].data"),
        ({"inputs": []}, "tensors.tensors"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            infer(house, model_name=misbehaving, **bad)
        failure = describe(caught.value)
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))


def test_datetimes_are_text(house: House) -> None:
    name = house.deploy(house.model("telling_times"))
    metadata = GRPCInferenceServiceStub(house.channel).ModelMetadata(
        pb.ModelMetadataRequest(name=name), timeout=30
    )
    assert [(one.name, one.datatype) for one in metadata.inputs] == [
        ("at", "BYTES"),
        ("what", "BYTES"),
    ]

    def column(name: str, *elements: bytes) -> dict[str, Any]:
        contents = pb.InferTensorContents(bytes_contents=elements)
        return {"name": name, "datatype": "BYTES", "shape": [2], "contents": contents}

    at = column("at", b"2024-01-31T12:30:00", b"2024-02-01T00:00:00")
    answer = infer(house, model_name=name, inputs=[at, column("what", b"a", b"b")])
    assert b"datetime64[ns] [Timestamp('2024-01-31 12:30:00')" in answer.raw_output_contents[0]
    with pytest.raises(grpc.RpcError) as caught:
        infer(house, model_name=name, inputs=[column("at", b"x", b"y"), column("what", b"", b"")])
    assert describe(caught.value).code is grpc.StatusCode.INVALID_ARGUMENT
    house.undeploy(name)
