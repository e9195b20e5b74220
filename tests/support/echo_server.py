"""A server that says what it was sent, and echoes what comes over a WebSocket: `python echo_server.py PORT [NAME]`.

It runs in containers too, so it is a program of its own and needs wsproto alone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Message, Request

NAME = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("HOSTNAME", "")


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with what was asked."""
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.echo()
            return
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"backend": NAME, "path": self.path, "headers": headers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def echo(self) -> None:
        """Send each message back until the connection ends."""
        self.close_connection = True
        connection: socket.socket = self.connection
        websocket = WSConnection(ConnectionType.SERVER)
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        websocket.receive_data(f"GET {self.path} HTTP/1.1\r\n{head}\r\n".encode())
        while True:
            for event in websocket.events():
                if isinstance(event, Request):
                    connection.sendall(websocket.send(AcceptConnection()))
                elif isinstance(event, Message):
                    connection.sendall(websocket.send(Message(data=event.data)))
                elif isinstance(event, CloseConnection):
                    connection.sendall(websocket.send(event.response()))
                    return
            data = connection.recv(65536)
            if not data:
                return
            websocket.receive_data(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
