"""A client that others wrote, in a process of its own: it has its own copy of the protocol.

`python oip_client.py ADDRESS REGISTERED` prints what it finds as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [7.7, 3.0, 6.1, 2.3]])
COLUMNS = ["sepal length", "sepal width", "petal length", "petal width"]


def tensor(name: str, array: Any, datatype: str = "FP64") -> Any:
    """Return an input with its data."""
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def refusal(call: Any, *args: Any, **kwargs: Any) -> list[str]:
    """Return the status and message of a call that must fail."""
    try:
        call(*args, **kwargs)
    except InferenceServerException as error:
        return [str(error.status()), str(error.message())]
    return ["answered", ""]


def main(address: str, name: str) -> dict[str, Any]:
    """Drive every method of the protocol that the server has."""
    with triton.InferenceServerClient(address) as client:
        found: dict[str, Any] = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "server": client.get_server_metadata(as_json=True),
            "before": client.is_model_ready(name),
            "index before": client.get_model_repository_index(as_json=True),
        }
        client.load_model(name)
        found["loaded"] = client.is_model_ready(name)
        found["version 1"] = client.is_model_ready(name, "1")
        found["version 9"] = client.is_model_ready(name, "9")
        found["metadata"] = client.get_model_metadata(name, as_json=True)
        found["index"] = client.get_model_repository_index(as_json=True)

        whole = client.infer(name, [tensor("input", ROWS)], request_id="mine")
        found["whole"] = whole.as_numpy("predictions").tolist()
        found["response"] = [whole.get_response().id, whole.get_response().model_version]
        columns = [tensor(column, ROWS[:, i : i + 1]) for i, column in enumerate(COLUMNS)]
        wanted = [triton.InferRequestedOutput("predictions")]
        by_column = client.infer(name, columns, model_version="1", outputs=wanted)
        found["columns"] = by_column.as_numpy("predictions").tolist()

        found["refused"] = {
            "a column too few": refusal(client.infer, name, [tensor("input", ROWS[:, :3])]),
            "an unknown output": refusal(
                client.infer,
                name,
                [tensor("input", ROWS)],
                outputs=[triton.InferRequestedOutput("nothing")],
            ),
            "an unknown version": refusal(
                client.infer, name, [tensor("input", ROWS)], model_version="9"
            ),
            "an unknown model": refusal(client.infer, "absent", [tensor("input", ROWS)]),
            "an unknown model to load": refusal(client.load_model, "absent"),
            "an unknown parameter": refusal(client.load_model, name, config='{"speed": 1}'),
        }
        client.load_model(
            "another-name", config=json.dumps({"model_uri": f"models:/{name}/1", "replicas": 1})
        )
        found["by config"] = client.is_model_ready("another-name")
        client.unload_model("another-name")
        client.unload_model(name)
        found["after"] = client.is_model_ready(name)
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
