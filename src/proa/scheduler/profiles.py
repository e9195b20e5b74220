"""Make profiles as a configuration file says: which plugins take part where, with which weights and arguments.

Follows pkg/scheduler/framework/runtime/framework.go (NewFramework, expandMultiPointPlugins).
"""

from __future__ import annotations

import logging
from pathlib import Path

from proa.scheduler.configuration import (
    BadConfiguration,
    Configuration,
    ProfileSettings,
    read_configuration,
    without_effect,
)
from proa.scheduler.framework import Profile
from proa.scheduler.plugins import PLUGINS, Parts

logger = logging.getLogger(__name__)


def load_configuration(path: str) -> Configuration:
    """Read a configuration from a file (YAML or JSON); raise BadConfiguration, which names it."""
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text())
        found = read_configuration(document, tuple(PLUGINS))
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path}: {' '.join(str(error).split())}") from None
    except BadConfiguration as error:
        raise BadConfiguration(f"{path}: {error}") from None
    if idle := without_effect(document):
        logger.warning("scheduler configuration: without effect here: %s", ", ".join(idle))
    return found


def make_profile(settings: ProfileSettings, parts: Parts) -> Profile:
    """Return the profile; a plugin that takes part nowhere is not made."""
    names = [name for name in PLUGINS if any(name in there for there in settings.plugins_at.values())]
    plugins = [
        PLUGINS[name](parts, settings.arguments.get(name) or {})
        for name in (names if settings.plugins_at else PLUGINS)
    ]
    without = frozenset(
        (point, name) for point, there in settings.plugins_at.items() for name in names if name not in there
    )
    return Profile(settings.name, plugins, settings.weights, without)
