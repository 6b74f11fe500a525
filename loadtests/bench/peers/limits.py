"""What nobody can be faster than: the server without a client of ours, bytes without an encoding, an encoding alone."""

from __future__ import annotations

import subprocess
from urllib.parse import urlsplit

from bench.case import Figures
from bench.peers import redis_py
from bench.peers.clock import Clock
from bench.records import chunked, random_records, turns

OPAQUE_BYTES = 64 * 1024
OPAQUE_AT_ONCE = 16  # 1 MB a pipeline
CLIENTS, PIPELINE = 50, 100


def redis_benchmark(url: str, records: int, size: int = 100) -> Figures:
    """Redis' own benchmark, in C: XADD with pipelining over many connections."""
    address = urlsplit(url)
    command = ["redis-benchmark", "-h", str(address.hostname), "-p", str(address.port), "--csv"]
    command += ["-n", str(records), "-c", str(CLIENTS), "-P", str(PIPELINE)]
    command += ["XADD", "orders", "*", "k", "customer-001", "v", "v" * size]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    return {"rate": _per_second(done.stdout)}


def _per_second(csv: str) -> float:
    # "test","rps",... with a line of headings above; the test's name is the whole command.
    names, figures = (line.strip('"').split('","') for line in csv.strip().splitlines()[-2:])
    return float(figures[names.index("rps")])


def opaque(url: str, records: int) -> Figures:
    """The bytes of the records as opaque batches of 64 kB: what a client without any encoding could do."""
    sent = random_records(100, 10_000)
    blob = b"".join(part for pair in zip(sent.keys, sent.values, strict=True) for part in pair)
    blobs = [blob[i : i + OPAQUE_BYTES] for i in range(0, len(blob) - OPAQUE_BYTES, OPAQUE_BYTES)]
    count = sent.key_bytes(records) + sent.value_bytes(records)
    client = redis_py.connect(url)
    chunks = chunked(blobs, OPAQUE_AT_ONCE)
    clock = Clock()
    for chunk in turns(chunks, max(1, count // OPAQUE_BYTES)):
        pipeline = client.pipeline(transaction=False)
        for data in chunk:
            pipeline.xadd("orders", {"b": data})
        pipeline.execute()
    return clock.figures(records)


def codec(records: int) -> Figures:
    """Batches of 1,000 records encoded, with their CRC, and sent nowhere; `decode_rate` the way back."""
    from streamadapter.codec import decode_batch, encode_batch

    sent = random_records(100)
    count = len(sent)
    batches = max(1, records // count)
    timestamps, headers = [0] * count, [None] * count
    clock = Clock()
    for number in range(batches):
        payload = encode_batch(
            sent.values,
            sent.keys,
            timestamps,
            headers,
            producer_id=1,
            producer_epoch=0,
            sequence=number * count,
        )
    figures = clock.figures(batches * count)
    clock = Clock()
    for _ in range(batches):
        decode_batch(payload, count)
    return {**figures, "decode_rate": clock.figures(batches * count)["rate"]}
