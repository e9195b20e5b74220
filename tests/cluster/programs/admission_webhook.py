"""An admission webhook as anybody would write one: it denies, or changes, by its path. Arguments: port, PEM file."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import sys

PATCH = [{"op": "add", "path": "/data/by", "value": "webhook"}]


class Webhook(http.server.BaseHTTPRequestHandler):
    """Answers AdmissionReviews."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer one."""
        body = self.rfile.read(int(self.headers["content-length"]))
        response = {"uid": json.loads(body)["request"]["uid"], "allowed": True}
        if self.path.startswith("/deny"):
            response |= {"allowed": False, "status": {"message": "denied by the webhook", "code": 403}}
        elif self.path.startswith("/change"):
            patch = base64.b64encode(json.dumps(PATCH).encode()).decode()
            response |= {"patchType": "JSONPatch", "patch": patch}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        data = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until killed; the port is printed, so that 0 may be asked for."""
    port, pem = int(sys.argv[1]), sys.argv[2]
    server = http.server.ThreadingHTTPServer(("", port), Webhook)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


main()
