"""Carry the streams of an exec or attach session: pipes, a terminal or sockets that noded handed over."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

_CHUNK_BYTES = 65536
_END_OF_TRANSMISSION = b"\x04"


class ReadPipe:
    """A descriptor that is read as the event loop gets to it."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self._fd = fd
        os.set_blocking(fd, False)

    async def read(self) -> bytes:
        """Return what arrived, b"" at the end."""
        while self._fd >= 0:
            try:
                return os.read(self._fd, _CHUNK_BYTES)
            except BlockingIOError:
                await _ready(self._fd, write=False)
            except OSError as error:
                if error.errno == errno.EIO:  # the last process has let go of the terminal
                    return b""
                raise
        return b""

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Session:
    def __init__(self, input_fd: int, outputs: list[ReadPipe], terminal: int) -> None:
        self._terminal = os.dup(terminal) if terminal >= 0 else -1
        self._input = input_fd
        self._outputs = outputs
        self._closed = False
        for fd in (self._input, self._terminal):
            if fd >= 0:
                os.set_blocking(fd, False)

    async def write(self, data: bytes) -> None:
        """Send to its standard input; what it no longer reads is dropped."""
        fd = self._terminal if self._terminal >= 0 else self._input
        view = memoryview(data)
        while view and fd >= 0 and not self._closed:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                await _ready(fd, write=True)
            except (BrokenPipeError, OSError):
                return

    async def close_stdin(self) -> None:
        """Signal end of input."""
        if self._terminal >= 0:
            await self.write(_END_OF_TRANSMISSION)
        elif self._input >= 0:
            os.close(self._input)
            self._input = -1

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size; no effect without one."""
        if self._terminal >= 0:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def output(self) -> AsyncIterator[tuple[Literal["stdout", "stderr"], bytes]]:
        """Yield output until all streams end."""
        queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(maxsize=4)

        async def pump(pipe: ReadPipe) -> None:
            while data := await pipe.read():
                await queue.put((pipe.name, data))
            await queue.put((pipe.name, b""))

        tasks = [asyncio.create_task(pump(pipe)) for pipe in self._outputs]
        try:
            open_streams = len(tasks)
            while open_streams:
                name, data = await queue.get()
                if not data:
                    open_streams -= 1
                    continue
                yield ("stderr" if name == "stderr" else "stdout"), data
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _release(self) -> None:
        self._closed = True
        for fd in {self._input, self._terminal}:
            if fd >= 0:
                os.close(fd)
        self._input = self._terminal = -1
        for pipe in self._outputs:
            pipe.close()


class ExecSession(_Session):
    """A process that was added to a container."""

    def __init__(
        self,
        input_fd: int,
        outputs: list[ReadPipe],
        terminal: int,
        ended: asyncio.Future[int],
        kill: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(input_fd, outputs, terminal)
        self._ended = ended
        self._kill = kill

    async def wait(self) -> int:
        """Return the exit code (128 + signal number when killed)."""
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        """End the session; a command still running is killed."""
        if self._closed:
            return
        self._release()
        if not self._ended.done():
            await self._kill()
            with contextlib.suppress(asyncio.InvalidStateError):
                self._ended.set_result(137)


class AttachSession(_Session):
    """The streams of a container's first process."""

    def __init__(
        self,
        input_fd: int,
        outputs: list[ReadPipe],
        terminal: int,
        end_input: Callable[[], Awaitable[None]],
        exit_code: Callable[[], Awaitable[int]],
    ) -> None:
        super().__init__(input_fd, outputs, terminal)
        if terminal >= 0:
            os.close(terminal)
            self._input = -1
        self._end_input = end_input
        self._exit_code = exit_code

    async def close_stdin(self) -> None:
        """Signal end of input; it reaches the container where its pod has stdinOnce."""
        if self._terminal < 0:
            await super().close_stdin()
            await self._end_input()

    async def wait(self) -> int:
        """Return the container's exit code once it has exited."""
        return await self._exit_code()

    async def close(self) -> None:
        """End the session; the container goes on."""
        if not self._closed:
            self._release()


async def _ready(fd: int, *, write: bool) -> None:
    """Wait until a descriptor can be read or written; its own copy, so that two sessions never share one."""
    loop = asyncio.get_running_loop()
    copy = os.dup(fd)
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    (loop.add_writer if write else loop.add_reader)(copy, wake)
    try:
        await future
    finally:
        (loop.remove_writer if write else loop.remove_reader)(copy)
        os.close(copy)
