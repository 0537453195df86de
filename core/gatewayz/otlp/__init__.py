"""OTLP without the OpenTelemetry SDK: spans to protobuf bytes, and bytes to a collector.

`encoder` writes what `sender` delivers. Neither imports protobuf, OpenTelemetry, urllib3 or grpc
when it is imported.
"""
