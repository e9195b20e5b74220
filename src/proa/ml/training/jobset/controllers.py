"""The controllers of JobSets, for one manager."""

from __future__ import annotations

from proa.ml.training.jobset import controller
from proa.reconcile.protocol import Controller

CONTROLLERS: tuple[Controller, ...] = (controller,)
