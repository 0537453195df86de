"""`from src.utils.ai_tracing import AITracer`: the default tracer of Gatewayz by its old path."""

from __future__ import annotations

from gatewayz import AITracer, InferenceContext, Tracer, observe, trace_model_call

__all__ = ["AITracer", "InferenceContext", "Tracer", "observe", "trace_model_call"]
