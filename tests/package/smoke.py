"""Run with an environment's own interpreter: what was installed from wheels works together."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from gatewayz import Tracer


class Collector(BaseHTTPRequestHandler):
    bodies = []

    def do_POST(self):
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tracer = Tracer(
        {
            "OTEL_ENABLED": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "PROMETHEUS_ENABLED": "true",
        }
    )
    with tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.set_token_usage(10, 5)
    assert tracer.flush(20)["complete"]
    for name in ("otel", "prometheus"):
        row = tracer.status()["backends"][name]
        assert (row["state"], row["delivered"]) == ("active", 1), row
    assert len(Collector.bodies) == 1

    from gatewayz.gateway import create_app

    assert create_app(tracer=tracer).title
    tracer.shutdown(5)
    print("ok")


main()
