"""A cluster's calls leave spans, too."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from redpool.instrumentation import opentelemetry
from support.faces import Face

from .servers import Cluster
from .test_cluster import client_of


@pytest.mark.needs("cluster pipelines by strategies")
def test_a_call_is_one_span(face: Face, cluster: Cluster) -> None:
    """Over however many nodes it goes."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with client_of(face, cluster) as client:
        opentelemetry.instrument(provider)
        client.set("key", "value")
        client.mget_nonatomic("a", "b", "c")
        pipe = client.pipeline()
        pipe.get("a")
        pipe.set("b", 1)
        pipe.execute()
        pipe = client.pipeline(transaction=True)
        pipe.get("{a}1")
        pipe.get("{a}2")
        pipe.execute()
        client.ping(target_nodes=client.ALL_NODES)
    opentelemetry.uninstrument()
    names = [span.name for span in exporter.get_finished_spans()]
    assert names == ["SET", "PIPELINE MGET", "PIPELINE", "MULTI GET", "PING"]
