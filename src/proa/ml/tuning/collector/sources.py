"""Metrics from where nothing is printed: event files, a port."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proa.ml.tuning.collector.asked import Asked
    from proa.ml.tuning.collector.points import Points


class EventSource:
    """TensorFlow's event files (TensorFlowEvent)."""

    def __init__(self, path: str, points: Points) -> None:
        from proa.ml.tuning.collector.event_folder import EventFolder

        self._path = path
        self._folder = EventFolder(path, points)
        self.note = ""

    def poll(self) -> bool:
        """Read what is new."""
        return self._folder.poll()

    def end(self, deadline: float) -> None:
        """Read what is left."""
        self._folder.poll()

    def explain(self) -> str:
        """Say what is in the folder."""
        files, damaged = self._folder.files, self._folder.damaged
        if not files:
            extra = (
                f", but {len(damaged)} files that are none or are damaged ({damaged[0]})" if damaged else ""
            )
            return f"there are no event files below {self._path}{extra}."
        tags = ", ".join(self._folder.other_tags) or "none"
        return (
            f"no scalar in the {len(files)} event files below {self._path} has a tag that begins so (a metric "
            f"FOLDER/TAG is of files in that folder). Tags there: {tags}."
        )


class PrometheusSource:
    """A port of the training's (PrometheusMetric)."""

    def __init__(self, asked: Asked, points: Points) -> None:
        from proa.ml.tuning.collector.prometheus import Endpoint

        self._endpoint = Endpoint(asked, points)
        self.note = ""

    def poll(self) -> bool:
        """Ask for the values of now. There is never more at once, however often they change."""
        self._endpoint.poll()
        return False

    def end(self, deadline: float) -> None:
        """Ask once more: the training may be still there, if another container has ended the pod."""
        self._endpoint.poll()

    def explain(self) -> str:
        """Say what the port answered."""
        endpoint = self._endpoint
        if not endpoint.answers:
            return f"{endpoint.url} was never answered ({endpoint.fault})."
        names = ", ".join(endpoint.other_names) or "none"
        return f"{endpoint.url} answered {endpoint.answers} times without it. Metrics there: {names}."
