"""Run callbacks when descriptors are ready, timers are due or children have ended: one thread, no locks."""

from __future__ import annotations

import heapq
import os
import selectors
import signal
import time

from proa.node.noded import faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
MAX_WAIT_SECONDS = 86400.0
"""The longest wait for descriptors: epoll takes 24 days, and a grace period may be any number of seconds."""


class Timer:
    """Something to be done later, unless cancelled."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], None] | None) -> None:
        self.due = due
        self.callback = callback

    def cancel(self) -> None:
        """Forget it."""
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due


class Loop:
    """A selector, timers, and the children's ends. An error in a callback is logged, and the loop goes on."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._running = True
        self.on_child: Callable[[int, int], None] = lambda pid, status: None
        self.on_terminate: Callable[[], None] = self.stop

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call `callback(ready events)` whenever the descriptor is ready; a second call replaces the first."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, callback)
        else:
            self._selector.register(fd, events, callback)

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor, before it is closed."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once, after so many seconds."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """End `run` after this round."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self.watch(wake_read, READ, lambda _: self._on_signal(wake_read))
        self._reap()
        while self._running:
            self.turn()

    def turn(self) -> None:
        """Wait for what comes first, and call what is due."""
        for key, ready in self._selector.select(self._timeout()):
            if self._selector.get_map().get(key.fd) is key:
                self._call(key.data, ready)
        self._run_timers()

    def _on_signal(self, fd: int) -> None:
        numbers = os.read(fd, 4096)
        if signal.SIGTERM in numbers:
            self.on_terminate()
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._call(self.on_child, pid, status)

    def _timeout(self) -> float | None:
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0].due - time.monotonic()), MAX_WAIT_SECONDS)

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].due <= now:
            callback = heapq.heappop(self._timers).callback
            if callback is not None:
                self._call(callback)

    def _call(self, callback: Callable[..., None], *arguments: int) -> None:
        try:
            callback(*arguments)
        except Exception:
            faults.log()
