"""List models that are served, deploy one, shift traffic between its revisions, ask it."""

from __future__ import annotations

import argparse

from proa.cli.connecting import add_action, add_cluster_options

DESCRIPTION = """\
Serve models, and look at those that are served (KServe's InferenceServices): one line deploys a file, a share of the
traffic goes to a new revision until it is promoted or rolled back. What kubectl and the SDK `kserve` make is shown
all the same; formats, storage and what else an InferenceService can say: docs/serving.md.
"""
EPILOG = """\
examples:
  proa models deploy iris ./model.joblib             a file or a folder of this machine
  proa models deploy iris s3://models/iris/2         any URI; the same name again makes a new revision
  proa models predict iris -d '[[5.1, 3.5, 1.4, 0.2]]'
  proa models deploy iris ./new.onnx --canary 10     a tenth of the traffic goes to the new revision
  proa models canary iris 50
  proa models promote iris                           all of it goes to the new one
  proa models rollback iris                          all of it goes back to the one before
  proa models show -f iris                           live: traffic, replicas and requests a second, by revision

Exit code of `deploy`, `wait`, `promote` and `rollback`: 0 where the model is ready, 1 where it has failed.
"""
_NAME = "the InferenceService's name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add_cluster_options(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(actions, "ls", "list models that are served", "text wide json yaml")
    listing.add_argument("-A", "--all-namespaces", action="store_true", help="those of all namespaces")
    show = add_action(
        actions,
        "show",
        "show a model: its addresses, its revisions with their traffic and load, and what is wrong",
        "text json yaml",
    )
    show.add_argument("model", metavar="NAME", help=_NAME)
    show.add_argument("-f", "--follow", action="store_true", help="live, until it is interrupted")
    _add_deploy(actions)
    canary = add_action(actions, "canary", "give the latest revision a share of the traffic", "")
    canary.add_argument("model", metavar="NAME", help=_NAME)
    canary.add_argument("percent", metavar="PERCENT", type=int, help="0 to 100; the rest is the one before's")
    for name, summary in (
        ("promote", "give the latest revision all of the traffic"),
        ("rollback", "give the revision before the latest one all of the traffic"),
    ):
        shift = add_action(actions, name, summary, "")
        shift.add_argument("model", metavar="NAME", help=_NAME)
        _add_waiting(shift)
    _add_predict(actions)
    wait = add_action(actions, "wait", "wait until a model is ready, or has failed", "")
    wait.add_argument("model", metavar="NAME", help=_NAME)
    _add_timeout(wait)
    delete = add_action(actions, "delete", "remove models with all that serves them", "")
    delete.add_argument("models", nargs="+", metavar="NAME", help=_NAME)


def _add_deploy(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    deploy = add_action(
        actions,
        "deploy",
        "serve a model: a file or folder of this machine, or a URI",
        "",
        "  proa models deploy digits ./digits.onnx --min 0 --max 4\n"
        "  proa models deploy risk mlflow://risk@champion --canary 10\n",
    )
    deploy.add_argument("model", metavar="NAME", help=_NAME)
    deploy.add_argument(
        "source",
        metavar="PATH|URI",
        help="what it is made of; URIs as s3://, https://, hf://, mlflow://, pvc://",
    )
    deploy.add_argument(
        "--format",
        default="",
        metavar="FORMAT",
        help="sklearn, xgboost, lightgbm, onnx, mlflow, pytorch, huggingface, custom, fastapi "
        "(default: what the files of this machine tell)",
    )
    deploy.add_argument(
        "--min", type=int, default=None, metavar="N", help="replicas at least; 0 lets it rest"
    )
    deploy.add_argument("--max", type=int, default=None, metavar="N", help="replicas at most")
    deploy.add_argument(
        "--canary", type=int, default=None, metavar="PERCENT", help="the new revision's share (default: all)"
    )
    _add_waiting(deploy)


def _add_predict(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = add_action(
        actions,
        "predict",
        "ask a model, and print its answer",
        "",
        "  proa models predict iris -d '[[5.1, 3.5, 1.4, 0.2]]'\n"
        "  proa models predict iris -d @request.json\n"
        "  proa models predict iris --revision iris-predictor-00002 -d @-\n",
    )
    predict.add_argument("model", metavar="NAME", help=_NAME)
    predict.add_argument(
        "-d",
        "--data",
        required=True,
        metavar="JSON|@FILE",
        help="rows (a list), a body of V1 (instances) or of V2 (inputs); @- is standard input",
    )
    predict.add_argument("--revision", default="", metavar="REVISION", help="this one, whatever the traffic")
    predict.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="for the answer (default: 60)"
    )


def _add_waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it is ready")
    _add_timeout(parser)


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="for so long at most (default: 300)"
    )


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from proa.cli.models.acting import ACTIONS

    return ACTIONS[options.action](options)
