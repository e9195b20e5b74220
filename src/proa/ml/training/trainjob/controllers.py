"""The controllers of TrainJobs, for one manager."""

from __future__ import annotations

from proa.ml.training.trainjob import controller
from proa.reconcile.protocol import Controller

CONTROLLERS: tuple[Controller, ...] = (controller,)
