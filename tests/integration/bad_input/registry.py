"""Bad input for registered models and their versions."""

from __future__ import annotations

from typing import Any

from tests.integration.bad_input.rows import (
    ABSENT,
    EXISTS,
    INVALID,
    LONG,
    NO_MODEL_ID,
    NO_RUN,
    Row,
    tag,
)


def model_rows() -> list[Row]:
    """Malformed and unknown registered models and versions, wherever one is asked for."""
    of_model: dict[str, dict[str, Any]] = {
        "GetRegisteredModel": {},
        "UpdateRegisteredModel": {"description": "d"},
        "RenameRegisteredModel": {"newName": "fresh"},
        "DeleteRegisteredModel": {},
        "SetRegisteredModelTag": {"key": "k"},
        "DeleteRegisteredModelTag": {"key": "k"},
        "DeleteRegisteredModelAlias": {"alias": "a"},
        "GetModelVersionByAlias": {"alias": "a"},
        "ListModelVersions": {},
    }
    of_version: dict[str, dict[str, Any]] = {
        "GetModelVersion": {},
        "UpdateModelVersion": {"description": "d"},
        "DeleteModelVersion": {},
        "TransitionModelVersionStage": {"stage": "MODEL_VERSION_STAGE_STAGING"},
        "SetModelVersionTag": {"key": "k"},
        "DeleteModelVersionTag": {"key": "k"},
        "CopyModelVersion": {"destinationName": "copy"},
        "SetRegisteredModelAlias": {"alias": "a"},
    }
    rows: list[Row] = []
    for rpc, more in {
        **of_model,
        **{k: {"version": "1", **v} for k, v in of_version.items()},
    }.items():
        for bad in ("a/b", "a:b", "..", "x" * 257, "a\0b"):
            rows.append((rpc, lambda w, b=bad, m=more: {"name": b, **m}, INVALID, "name"))
        rows.append((rpc, lambda w, m=more: {"name": "no such modèl", **m}, ABSENT, ""))
    for rpc, more in of_version.items():
        for bad in ("", "0", "-1", "one", "1.0", "9" * 12, "1\n"):
            rows.append(
                (
                    rpc,
                    lambda w, b=bad, m=more: {"name": w.model, "version": b, **m},
                    INVALID,
                    "version",
                )
            )
        rows.append((rpc, lambda w, m=more: {"name": w.model, "version": "7", **m}, ABSENT, ""))
    return rows


OWN_ROWS: list[Row] = [
    ("CreateRegisteredModel", lambda w: {"name": w.model}, EXISTS, ""),
    ("CreateRegisteredModel", lambda w: {"name": "a/b"}, INVALID, "name"),
    ("CreateRegisteredModel", lambda w: {"name": " "}, INVALID, "name"),
    (
        "CreateRegisteredModel",
        lambda w: {"name": "n", "description": "x" * 5001},
        INVALID,
        "description",
    ),
    (
        "CreateRegisteredModel",
        lambda w: {"name": "n", **tag("k", "x" * 5001)},
        INVALID,
        "tags[0].value",
    ),
    (
        "UpdateRegisteredModel",
        lambda w: {"name": w.model, "description": "x" * 5001},
        INVALID,
        "description",
    ),
    ("RenameRegisteredModel", lambda w: {"name": w.model, "newName": w.other_model}, EXISTS, ""),
    ("RenameRegisteredModel", lambda w: {"name": w.model, "newName": "a:b"}, INVALID, "new_name"),
    (
        "SetRegisteredModelTag",
        lambda w: {"name": w.model, "key": "k", "value": LONG},
        INVALID,
        "value",
    ),
    ("DeleteRegisteredModelTag", lambda w: {"name": w.model, "key": "absent"}, ABSENT, ""),
    *[
        (
            "SetRegisteredModelAlias",
            lambda w, a=alias: {"name": w.model, "version": "1", "alias": a},
            INVALID,
            "alias",
        )
        for alias in ("", "a b", "a/b", "latest", "LATEST", "v1", "x" * 256, "a\n", "\u00e9\u00e9!")
    ],
    ("DeleteRegisteredModelAlias", lambda w: {"name": w.model, "alias": "absent"}, ABSENT, ""),
    ("GetModelVersionByAlias", lambda w: {"name": w.model, "alias": "absent"}, ABSENT, ""),
    ("GetModelVersionByAlias", lambda w: {"name": w.model, "alias": "a/b"}, INVALID, "alias"),
    ("RegisterModel", lambda w: {"name": "n"}, INVALID, "source"),
    ("RegisterModel", lambda w: {"name": "a/b", "source": "s3://b/c"}, INVALID, "name"),
    ("RegisterModel", lambda w: {"name": "n", "source": "/etc"}, INVALID, "source"),
    ("RegisterModel", lambda w: {"name": "n", "source": "/etc", "runId": w.run}, INVALID, "source"),
    (
        "RegisterModel",
        lambda w: {"name": "n", "source": "file:///etc", "runId": w.run},
        INVALID,
        "source",
    ),
    (
        "RegisterModel",
        lambda w: {"name": "n", "source": "mlflow-artifacts:/0/x"},
        INVALID,
        "source",
    ),
    ("RegisterModel", lambda w: {"name": "n", "source": "s3://b/../c"}, INVALID, "source"),
    (
        "RegisterModel",
        lambda w: {"name": "n", "source": f"runs:/{w.run}/../../x"},
        INVALID,
        "source",
    ),
    ("RegisterModel", lambda w: {"name": "n", "source": "runs:/"}, INVALID, "source"),
    ("RegisterModel", lambda w: {"name": "n", "source": "models:/"}, INVALID, "source"),
    *[
        (
            "RegisterModel",
            lambda w, s=source: {"name": "n", "source": s.format(run=w.run)},
            INVALID,
            "source",
        )
        for source in ("runs:/{run}", "runs:/{run}/", "file://host/x", "file://[x", "s3://[x")
    ],
    *[
        ("RegisterModel", lambda w, s=source: {"name": "n", "source": s}, INVALID, "source")
        for source in ("models://[x", "runs://[x")
    ],
    *[
        (
            rpc,
            lambda w, m=more, f=field, v=version: {**m, f: f"models:/{w.model}/{v}"},
            ABSENT,
            "",
        )
        for rpc, field, more in (
            ("RegisterModel", "source", {"name": "n"}),
            ("ListArtifacts", "modelUri", {}),
            ("DownloadArtifact", "modelUri", {}),
            ("DeployModel", "modelUri", {"name": "served"}),
        )
        for version in ("Production", "nonsense", "7", "9" * 10, "9" * 23, "0")
    ],
    ("RegisterModel", lambda w: {"name": "n", "source": f"runs:/{NO_RUN}/m"}, ABSENT, ""),
    ("RegisterModel", lambda w: {"name": "n", "source": f"models:/{NO_MODEL_ID}"}, ABSENT, ""),
    ("RegisterModel", lambda w: {"name": "n", "source": "models:/absent/1"}, ABSENT, ""),
    ("RegisterModel", lambda w: {"name": "n", "source": f"models:/{w.model}@absent"}, ABSENT, ""),
    (
        "RegisterModel",
        lambda w: {"name": "n", "source": f"runs:/{w.run}/m", "runId": NO_RUN},
        INVALID,
        "run_id",
    ),
    ("RegisterModel", lambda w: {"name": "n", "source": "s3://b/" + "x" * 500}, INVALID, "source"),
    ("ListModelVersions", lambda w: {"filter": "version_number > 'x'"}, INVALID, "filter"),
    *[
        (rpc, lambda w, m=more, c=column: {**m, "filter": f"{c} > {'9' * 20}"}, INVALID, "filter")
        for rpc, more, column in (
            ("ListExperiments", {}, "creation_time"),
            ("SearchRuns", {"experimentIds": ["0"]}, "attributes.start_time"),
            ("ListModelVersions", {}, "version_number"),
        )
    ],
    ("TransitionModelVersionStage", lambda w: {"name": w.model, "version": "1"}, INVALID, "stage"),
    (
        "TransitionModelVersionStage",
        lambda w: {"name": w.model, "version": "1", "stage": 42},
        INVALID,
        "stage",
    ),
    (
        "TransitionModelVersionStage",
        lambda w: {"name": w.model, "version": "1", "stage": 4, "archiveExistingVersions": True},
        INVALID,
        "archive_existing_versions",
    ),
    (
        "SetModelVersionTag",
        lambda w: {"name": w.model, "version": "1", "key": "k", "value": LONG},
        INVALID,
        "value",
    ),
    (
        "DeleteModelVersionTag",
        lambda w: {"name": w.model, "version": "1", "key": "absent"},
        ABSENT,
        "",
    ),
    (
        "CopyModelVersion",
        lambda w: {"name": w.model, "version": "1", "destinationName": "a/b"},
        INVALID,
        "destination_name",
    ),
]

ROWS = [*model_rows(), *OWN_ROWS]
