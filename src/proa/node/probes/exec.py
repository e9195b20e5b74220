"""Run a command in a container and collect what it says."""

from __future__ import annotations

from proa.node.runtimes.protocol import Runtime

OUTPUT_LIMIT = 10 * 1024


async def run_command(runtime: Runtime, container_id: str, command: tuple[str, ...]) -> tuple[int, str]:
    """Return exit code and output (both streams, the first 10 KiB); killed when cancelled. Raises RuntimeFailure."""
    session = await runtime.exec(container_id, command, stdin=False, tty=False)
    output = bytearray()
    try:
        async for _, data in session.output():
            output += data[: OUTPUT_LIMIT - len(output)]
        code = await session.wait()
    finally:
        await session.close()
    return code, output.decode(errors="replace")
