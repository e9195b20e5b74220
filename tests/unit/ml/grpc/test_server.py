"""gRPC served and called: ours with ours, and each with grpcio's."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import grpc
import pytest

from proa.ml.grpc.channel import call
from proa.ml.grpc.connection import Caller, GrpcConnection, Limits
from proa.ml.grpc.framing import MAX_MESSAGE_BYTES, read_timeout, write_timeout
from proa.ml.grpc.server import GrpcServer
from proa.ml.grpc.status import CallFailed, Code
from proa.ml.tuning.grpc.messages import CODEC, KATIB, METHODS

GET = "/api.v1.beta1.DBManager/GetObservationLog"
REPORT = "/api.v1.beta1.DBManager/ReportObservationLog"
CHECK = "/grpc.health.v1.Health/Check"

Address = tuple[str, int]


def make_logs(number: int) -> list[dict]:
    return [
        {"time_stamp": "2006-01-02T15:04:05Z", "metric": {"name": "loss", "value": f"0.{n:05}"}}
        for n in range(number)
    ]


class Served:
    """Methods that remember who called."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict, Caller]] = []
        self.cancelled = 0
        self.may_go_on = asyncio.Event()

    async def get(self, request: dict, caller: Caller) -> dict:
        self.calls.append((request, caller))
        if request["trial_name"] == "slow":
            try:
                await self.may_go_on.wait()
            finally:
                self.cancelled += 1
        if request["trial_name"] == "bad":
            raise CallFailed(Code.FAILED_PRECONDITION, "100% – é, no\n")
        if request["trial_name"] == "broken":
            raise RuntimeError("a secret")
        return {"observation_log": {"metric_logs": make_logs(int(request["metric_name"] or 0))}}

    async def report(self, request: dict, caller: Caller) -> dict:
        self.calls.append((request, caller))
        return {}


def serve(body: Callable[[Address, Served], Awaitable[None]], **limits: int) -> None:
    """Run a test's body beside a server."""

    async def go() -> None:
        served = Served()
        server = GrpcServer(KATIB, {GET: served.get, REPORT: served.report}, Limits(**limits))
        sock = socket.create_server(("127.0.0.1", 0))
        await server.serve(sock, is_host=True)
        try:
            await body(sock.getsockname(), served)
        finally:
            await server.close()

    asyncio.run(go())


async def dial(host: str, port: int):
    return await asyncio.open_connection(host, port)


async def ask(address: Address, path: str = GET, seconds: float = 10.0, **message: object) -> dict:
    return await call(KATIB, dial, address, path, message, seconds)


def method_of(channel, path: str = GET):
    """Return grpcio's way to call a method."""
    request, reply = METHODS[path]
    return channel.unary_unary(
        path,
        request_serializer=lambda message: CODEC.encode(request, message),
        response_deserializer=lambda data: CODEC.decode(reply, data),
    )


def test_a_call_is_answered_and_says_where_it_came_from():
    async def body(address: Address, served: Served) -> None:
        answer = await ask(address, trial_name="t", metric_name="2")
        assert answer == {"observation_log": {"metric_logs": make_logs(2)}}
        request, caller = served.calls[0]
        assert (request["trial_name"], request["start_time"]) == ("t", "")
        assert (caller.address[0], caller.local, caller.is_host) == ("127.0.0.1", address, True)

    serve(body)


def test_grpcio_calls_and_is_told_what_is_wrong():
    async def body(address: Address, served: Served) -> None:
        async with grpc.aio.insecure_channel("{}:{}".format(*address)) as channel:
            answers = await asyncio.gather(
                *(method_of(channel)({"trial_name": "t", "metric_name": str(n)}) for n in range(150))
            )
            assert [len(a["observation_log"]["metric_logs"]) for a in answers] == [*range(150)]
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await method_of(channel)({"trial_name": "bad"})
            assert (failed.value.code().name, failed.value.details()) == (
                "FAILED_PRECONDITION",
                "100% – é, no\n",
            )
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await method_of(channel, CHECK)({})
            assert failed.value.code().name == "UNIMPLEMENTED"

    serve(body)


def test_what_does_not_fit_a_window_comes_whole_both_ways():
    async def body(address: Address, served: Served) -> None:
        logs = make_logs(6_000)
        await ask(address, REPORT, trial_name="t", observation_log={"metric_logs": logs})
        assert served.calls[0][0]["observation_log"]["metric_logs"] == logs
        answer = await ask(address, metric_name="6000")
        assert len(answer["observation_log"]["metric_logs"]) == 6_000
        async with grpc.aio.insecure_channel("{}:{}".format(*address)) as channel:
            await method_of(channel, REPORT)({"observation_log": {"metric_logs": logs}})
            assert len((await method_of(channel)({"metric_name": "6000"}))["observation_log"]["metric_logs"])

    serve(body)


def test_a_message_that_is_too_long_is_refused_before_it_is_whole():
    async def body(address: Address, served: Served) -> None:
        with pytest.raises(CallFailed, match=f"RESOURCE_EXHAUSTED: a message has up to {MAX_MESSAGE_BYTES}"):
            await ask(address, trial_name="t" * (MAX_MESSAGE_BYTES + 1))
        async with grpc.aio.insecure_channel("{}:{}".format(*address)) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await method_of(channel)({"trial_name": "t" * (MAX_MESSAGE_BYTES + 1)})
            assert failed.value.code().name == "RESOURCE_EXHAUSTED"
            await method_of(channel)({"trial_name": "t"})
        assert len(served.calls) == 1

    serve(body)


def test_a_call_whose_end_comes_with_what_is_too_long_keeps_its_connection():
    async def body(address: Address, served: Served) -> None:
        async with grpc.aio.insecure_channel("{}:{}".format(*address)) as channel:
            await method_of(channel)({"trial_name": "t"})
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await method_of(channel)({"trial_name": "t" * 200})
            assert failed.value.code().name == "RESOURCE_EXHAUSTED"
            await method_of(channel)({"trial_name": "t"})
        assert len({caller.address for _, caller in served.calls}) == 1

    serve(body, message_bytes=100)


def test_a_call_ends_when_its_time_is_up_and_when_the_client_goes():
    async def body(address: Address, served: Served) -> None:
        seconds = 0.05
        async with grpc.aio.insecure_channel("{}:{}".format(*address)) as channel:
            while not served.cancelled:
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await method_of(channel)({"trial_name": "slow"}, timeout=seconds)
                assert failed.value.code().name == "DEADLINE_EXCEEDED"
                seconds *= 2  # on a busy machine it may be over before the call has come
        while served.cancelled < len(served.calls):
            await asyncio.sleep(0.01)
        before = served.cancelled
        while served.cancelled == before:
            with pytest.raises(CallFailed, match="DEADLINE_EXCEEDED"):
                await ask(address, seconds=seconds, trial_name="slow")
            seconds *= 2

    serve(body)


def test_a_fault_of_ours_tells_nothing_of_its_inside(caplog):
    async def body(address: Address, served: Served) -> None:
        with pytest.raises(
            CallFailed, match="INTERNAL: this call has failed here; the log says why"
        ) as failed:
            await ask(address, trial_name="broken")
        assert "secret" not in str(failed.value)

    serve(body)
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9, b"\0" * 100],
    ids=["HTTP/1.1", "no settings", "nothing"],
)
def test_who_speaks_something_else_is_cut_and_others_go_on(data):
    async def body(address: Address, served: Served) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(data)
        async with asyncio.timeout(60):
            await reader.read()
        writer.close()
        await ask(address)

    serve(body)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
PING = b"\0\0\x08\6\0\0\0\0\0" + b"x" * 8


def test_who_pings_and_asks_nothing_is_cut_and_others_go_on():
    async def body(address: Address, served: Served) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(PREFACE + PING * 2000)
        async with asyncio.timeout(60):
            answered = await reader.read()
        assert answered.endswith(b"\0\0\0\x0b")  # ENHANCE_YOUR_CALM
        writer.close()
        await ask(address)

    serve(body)


def test_nothing_more_is_heard_of_a_client_that_does_not_read():
    class Deaf(asyncio.Transport):
        is_reading_on, is_cut = True, False

        def pause_reading(self) -> None:
            self.is_reading_on = False

        def resume_reading(self) -> None:
            self.is_reading_on = True

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
        def write(self, data: bytes) -> None: ...  # type: ignore[override]

        def is_closing(self) -> bool:
            return False

        def abort(self) -> None:
            self.is_cut = True

    async def go() -> None:
        connection, transport = GrpcConnection(GrpcServer(KATIB, {}), is_host=True), Deaf()
        connection.connection_made(transport)
        connection.pause_writing()
        assert not transport.is_reading_on
        connection.resume_writing()
        assert transport.is_reading_on
        connection.pause_writing()
        connection._time_is_up()
        assert transport.is_cut
        connection.connection_lost(None)

    asyncio.run(go())


def test_one_pod_cannot_hold_all_that_there_is_room_for():
    server = GrpcServer(KATIB, {})
    greedy, other = (Caller((address, 1), ("10.0.0.1", 6789)) for address in ("10.1.0.1", "10.1.0.2"))
    taken = sum(server.hold(1024 * 1024, greedy) for _ in range(100))
    assert taken == 16
    assert server.hold(1024 * 1024, other)
    assert server.hold(-taken * 1024 * 1024, greedy)
    assert server.hold(1024 * 1024, greedy)


@pytest.mark.parametrize("limit", ["connections", "of_one_address"])
def test_more_connections_than_there_is_room_for_are_cut(limit):
    async def body(address: Address, served: Served) -> None:
        reader, writer = await asyncio.open_connection(*address)
        await reader.readexactly(9)
        with pytest.raises(CallFailed, match="UNAVAILABLE"):
            await ask(address)
        writer.close()
        await reader.read()
        async with asyncio.timeout(60):
            while True:
                try:
                    await ask(address)
                    break
                except CallFailed:
                    await asyncio.sleep(0.01)

    serve(body, **{limit: 1})


def test_a_message_that_is_none_is_refused():
    async def body(address: Address, served: Served) -> None:
        async with grpc.aio.insecure_channel("{}:{}".format(*address)) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary(GET)(b"\x0a\xff")
            assert failed.value.code().name == "INTERNAL"
            assert "this is no GetObservationLogRequest" in failed.value.details()
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await method_of(channel)({"trial_name": "t" * 500}, compression=grpc.Compression.Gzip)
            assert failed.value.code().name == "UNIMPLEMENTED"

    serve(body)


def test_ours_calls_grpcios_server():
    async def body() -> None:
        async def get(request: bytes, context) -> bytes:
            found = CODEC.decode("GetObservationLogRequest", request)
            if found["trial_name"] == "bad":
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "100% – no\n")
            logs = make_logs(int(found["metric_name"]))
            return CODEC.encode("GetObservationLogReply", {"observation_log": {"metric_logs": logs}})

        server = grpc.aio.server()
        handlers = {"GetObservationLog": grpc.unary_unary_rpc_method_handler(get)}
        service = GET.split("/")[1]
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        address = ("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        try:
            answer = await ask(address, trial_name="t", metric_name="6000")
            assert len(answer["observation_log"]["metric_logs"]) == 6_000
            with pytest.raises(CallFailed) as failed:
                await ask(address, trial_name="bad")
            assert (failed.value.code, failed.value.message) == (Code.INVALID_ARGUMENT, "100% – no\n")
            with pytest.raises(CallFailed, match="UNIMPLEMENTED"):
                await ask(address, CHECK)
        finally:
            await server.stop(None)

    asyncio.run(body())


def test_nobody_there_is_said_with_the_address():
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    sock.close()
    with pytest.raises(
        CallFailed, match=rf"UNAVAILABLE: 127.0.0.1:{address[1]}: Connection refused|Connect call"
    ):
        asyncio.run(ask(address))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("250m", 0.25), ("7u", 7e-6), ("", None), ("1d", None)],
)
def test_a_timeout_is_read(text, seconds):
    assert read_timeout(text) == seconds
    assert read_timeout(write_timeout(0.25)) == 0.25
