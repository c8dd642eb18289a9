"""Send spans to the endpoint in OpenTelemetry's variables, and nowhere else: distask itself collects no data."""

from __future__ import annotations

import os

ADDRESSES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def begin() -> None:
    """Set up OpenTelemetry if the environment names an endpoint; remaining spans are sent when the process ends."""
    named = next((name for name in ADDRESSES if os.environ.get(name)), None)
    unwanted = (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if named is None or unwanted:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        import logging

        logging.getLogger(__name__).warning(
            "%s is set, but no spans are sent; to send them, run pip install 'distask[otel]'", named
        )
        return
    name = os.environ.get("OTEL_SERVICE_NAME", "distask")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
