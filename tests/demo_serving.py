"""The end of the demo: deploy the model that it trained, and predict with it."""

from __future__ import annotations

from typing import Any

from mlflow_grpc import Client

NAME = "digits"


def deploy_and_predict(client: Client, model: Any, uri: str) -> list[str]:
    """Deploy, predict all digits, undeploy; returns how the answers differ from the model's own."""
    from sklearn.datasets import load_digits

    images = load_digits().data / 16
    served = client.deploy_model(NAME, uri, wait_until_ready=True, timeout=120)
    print(f"deployed {uri} as {NAME}: {served.versions[0].resolved_uri}, {served.state}")
    answers = client.predict(NAME, images)
    first = client.predict(NAME, images[:5].tolist())
    client.undeploy_model(NAME)
    expected = model.predict(images)
    wrong = int((answers != expected).sum())
    print(f"predicted {len(answers)} digits, the first of them {first}; undeployed")
    differences = [f"{wrong} predictions"] if wrong else []
    return differences + (["the first five as lists"] if first != expected[:5].tolist() else [])
