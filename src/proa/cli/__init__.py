"""The command line: one verb a file, each with DESCRIPTION, add_arguments(parser) and run(options) -> exit code."""

from __future__ import annotations

VERBS = {
    "up": "start the cluster, or say that it runs",
    "down": "stop the cluster; everything it keeps stays",
    "status": "show whether it runs, its nodes and what it uses",
    "nodes": "list the nodes, switch one off and on again",
    "gateway": "install Gateway API, show where Ingresses and Gateways are reached",
    "reset": "stop it and remove everything it keeps",
    "token": "make, list and remove the tokens with which other machines join",
    "join": "make this machine a node of a cluster on another one, or start that node again",
    "leave": "take this machine's node out of the cluster that it has joined",
    "backup": "write all objects and keys of the running cluster to one file",
    "restore": "bring a stopped cluster back to what a backup has",
    "images": "list, pull, load, save and remove images",
    "doctor": "try what this machine offers, and say how to fix what is missing",
    "build": "build an image of a Dockerfile; the cluster runs it by its name at once",
    "pipelines": "run compiled Kubeflow pipelines with a live tree of their steps; upload and list them",
    "runs": "list runs of pipelines, show their steps, metrics, logs and artifacts; retry, terminate",
    "recurring": "run pipelines at times",
    "experiments": "list experiments of hyper-parameters, follow them with a drawing, print the best parameters",
    "models": "serve a model in one line, see its traffic by revision, shift it, ask the model",
    "tuning": "be Katib of any cluster, in a process of its own",
    "training": "be Kubeflow's training of any cluster, in a process of its own",
    "serving": "be KServe of any cluster, in a process of its own",
    "kubeconfig": "print the kubeconfig for kubectl and every other client",
    "apiserver": "run an API server alone, one of several on one etcd",
    "controllers": "run the controllers alone, against any Kubernetes API server",
    "scheduler": "run the scheduler alone, against any Kubernetes API server",
    "demo": "train, serve, heal, scale and roll out a real model, with live progress",
}


class UsageError(Exception):
    """The command line asks for something that cannot be: exit code 2."""


class Failure(Exception):
    """It did not work; the message says why, and what to do next: exit code 1."""
