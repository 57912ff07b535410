"""`artifacts`: lists, logs and fetches artifacts."""

from __future__ import annotations

import argparse
import os
from typing import Any

from mlflow_grpc._cli.output import Output
from mlflow_grpc._sync.client import Client


def add(subcommands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the subcommand, with those below it."""
    parser = subcommands.add_parser("artifacts", help="list, log and get artifacts")
    below = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    of = argparse.ArgumentParser(add_help=False, parents=[common])
    of.add_argument("of", metavar="RUN", help="run id, or models:/... URI")

    listing = below.add_parser("list", parents=[of], help="list files and folders")
    listing.add_argument("path", nargs="?", help="folder (default: all)")
    listing.add_argument("-r", "--recursive", action="store_true", help="with folders below")
    listing.set_defaults(run=_list)

    logging = below.add_parser("log", parents=[of], help="log a file or folder")
    logging.add_argument("local", help="file or folder of this machine")
    logging.add_argument("path", nargs="?", help="folder among the artifacts (default: top)")
    logging.set_defaults(run=_log)

    getting = below.add_parser("get", parents=[of], help="fetch a file or folder")
    getting.add_argument("path", nargs="?", default="", help="file or folder (default: all)")
    getting.add_argument("-d", "--to", default=".", help="folder to put it in (default: .)")
    getting.set_defaults(run=_get)


def _list(client: Client, options: argparse.Namespace, output: Output) -> None:
    found = list(client.list_artifacts(options.of, options.path, recursive=options.recursive))
    if output.as_json:
        output.values(found)
        return
    rows = [[one.path + "/" * one.is_dir, f"{one.file_size or 0:,}"] for one in found]
    output.table(["path", "bytes"], rows)


def _log(client: Client, options: argparse.Namespace, output: Output) -> None:
    if os.path.isdir(options.local):
        stored = client.log_artifacts(options.of, options.local, options.path)
    else:
        stored = [client.log_artifact(options.of, options.local, options.path)]
    if output.as_json:
        output.values(stored)
        return
    rows = [[one.path, f"{one.file_size or 0:,}", one.sha256] for one in stored]
    output.table(["path", "bytes", "SHA-256"], rows)


def _get(client: Client, options: argparse.Namespace, output: Output) -> None:
    place = client.download_artifacts(options.of, options.path, options.to)
    if output.as_json:
        output.values({"path": place})
    else:
        print(place)
