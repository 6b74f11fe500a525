"""Every configuration property of confluent_kafka, as data, and what a log store makes of it.

Names, ranges and defaults are librdkafka 2.16's (``rd_kafka_conf_properties_show``); a unit test compares
this table with the librdkafka in the installed wheel. Where Kafka and librdkafka have two names for one
property, the name in Kafka's own documentation is the canonical one here and the other is an alias.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["int", "float", "bool", "enum", "string", "list", "callback"]
Support: TypeAlias = Literal["honoured", "hint", "unsupported"]
Roles: TypeAlias = Literal["*", "P", "C"]
Value: TypeAlias = "int | float | bool | str | tuple[str, ...] | None"

_MAX = 2_147_483_647


@dataclass(frozen=True, slots=True)
class Property:
    """One property; `note` is its meaning, or the reason why it is a hint or unsupported.

    A hint tunes librdkafka's insides: accepted, validated, without effect. An unsupported property is refused
    unless it has its default, which asks for nothing. roles: "*", or "P"/"C" for one of producers/consumers
    only; other clients accept and ignore it (but do not know its callbacks). `choices` are canonical
    spellings; `synonyms` maps other spellings of a value to them.
    """

    name: str
    kind: Kind
    default: Value = None
    note: str = ""
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    synonyms: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()
    roles: Roles = "*"
    support: Support = "honoured"


def _section(support: Support, roles: Roles, *properties: Property) -> tuple[Property, ...]:
    return tuple(replace(prop, support=support, roles=roles) for prop in properties)


def _int(name: str, default: int, low: int, high: int, note: str = "", *aliases: str) -> Property:
    return Property(name, "int", default, note, low, high, aliases=aliases)


def _bool(name: str, default: bool, note: str = "", *aliases: str) -> Property:
    return Property(name, "bool", default, note, aliases=aliases)


def _enum(
    name: str, default: str | None, choices: tuple[str, ...], note: str = "", *aliases: str
) -> Property:
    return Property(name, "enum", default, note, choices=choices, aliases=aliases)


def _string(name: str, default: str | None = None, note: str = "", *aliases: str) -> Property:
    return Property(name, "string", default, note, aliases=aliases)


def _callback(name: str, note: str) -> Property:
    return Property(name, "callback", None, note)


_ACKS = Property(
    "acks",
    "int",
    -1,
    "0: do not wait; 1: the primary has it; all (-1): min.insync.replicas - 1 replicas have it too",
    -1,
    1,
    synonyms=(("all", "-1"),),
    aliases=("request.required.acks",),
)
_LINGER = Property(
    "linger.ms",
    "float",
    5.0,
    "longest wait for a fuller batch",
    0,
    900000,
    aliases=("queue.buffering.max.ms",),
)
_IN_FLIGHT = _int(
    "max.in.flight.requests.per.connection", 1000000, 1, 1000000, "order holds", "max.in.flight"
)
_COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")
_PARTITIONERS = (
    *("random", "consistent", "consistent_random"),
    *("murmur2", "murmur2_random", "fnv1a", "fnv1a_random"),
)
_STRATEGY = Property(
    "partition.assignment.strategy",
    "list",
    ("range", "roundrobin"),
    "assignors, the preferred one first; cooperative-sticky cannot be mixed with the others",
    choices=("range", "roundrobin", "cooperative-sticky"),
)
_RESET = Property(
    "auto.offset.reset",
    "enum",
    "latest",
    "where to begin without a usable committed offset",
    choices=("earliest", "latest", "error"),
    synonyms=(("smallest", "earliest"), ("beginning", "earliest"), ("largest", "latest"), ("end", "latest")),
)

_HONOURED = (
    *_section(
        "honoured",
        "*",
        _string("bootstrap.servers", None, "URL of the server", "metadata.broker.list"),
        _string("client.id", "rdkafka", "name of this client, as groups and the server show it"),
        _int("socket.timeout.ms", 60000, 10, 300000, "longest wait for a reply"),
        _int("message.max.bytes", 1000000, 1000, 1000000000, "largest message that produce() accepts"),
        _int(
            "topic.metadata.refresh.interval.ms", 300000, -1, 3600000, "time between looks for new partitions"
        ),
        _int(
            "topic.metadata.propagation.max.ms", 30000, 0, 3600000, "how long a missing topic is waited for"
        ),
        _int("retry.backoff.ms", 100, 1, 300000, "first wait before repeating a request"),
        _int("retry.backoff.max.ms", 1000, 1, 300000, "longest wait before repeating a request"),
        _callback("error_cb", "called with a KafkaError for errors that no call returns"),
        _string("ssl.ca.location", None, "TLS: file of CA certificates"),
        _string("ssl.certificate.location", None, "TLS: file of the client's certificate"),
        _string("ssl.key.location", None, "TLS: file of the client's key"),
        _string("ssl.key.password", None, "TLS: pass phrase of that key"),
        _bool("enable.ssl.certificate.verification", True, "TLS: verify the server's certificate"),
        _string("streamadapter.key.prefix", "sa", "prefix of all keys on the server; one world a prefix"),
        _bool("streamadapter.allow.plaintext.password", False, "send a password to another host without TLS"),
    ),
    *_section(
        "honoured",
        "P",
        _ACKS,
        _bool(
            "enable.idempotence", False, "retries never duplicate; true also checks acks and max.in.flight"
        ),
        _LINGER,
        _int("batch.size", 1000000, 1, _MAX, "largest batch in bytes"),
        _int("batch.num.messages", 10000, 1, 1000000, "largest batch in messages"),
        _enum("compression.type", "none", _COMPRESSIONS, "compression of batches", "compression.codec"),
        _int("compression.level", -1, -1, 12, "-1: the codec's default"),
        _int(
            "queue.buffering.max.messages", 100000, 0, _MAX, "queued messages before BufferError; 0: no limit"
        ),
        _int("queue.buffering.max.kbytes", 1048576, 1, _MAX, "queued kilobytes before BufferError"),
        _int("retries", _MAX, 0, _MAX, "how often a batch may be sent again", "message.send.max.retries"),
        _int(
            "delivery.timeout.ms", 300000, 0, _MAX, "produce() to report; 0: no limit", "message.timeout.ms"
        ),
        _int("request.timeout.ms", 30000, 1, 900000, "longest wait for replicas with acks=all"),
        _enum("partitioner", "consistent_random", _PARTITIONERS, "murmur2_random is the Java client's"),
        _int(
            "sticky.partitioning.linger.ms",
            10,
            0,
            900000,
            "how long messages without key stay on a partition",
        ),
        _bool("delivery.report.only.error", False, "delivery reports for failures only"),
        _callback("on_delivery", "called with (KafkaError or None, Message) for each message"),
    ),
    *_section(
        "honoured",
        "C",
        _string("group.id", None, "the consumer group; required"),
        _string("group.instance.id", None, "static member: keeps its partitions over a restart"),
        _enum("group.protocol", "classic", ("classic", "consumer"), "consumer: cooperative, as with KIP-848"),
        _enum("group.remote.assignor", None, ("uniform", "range"), "assignor with group.protocol=consumer"),
        _STRATEGY,
        _int("session.timeout.ms", 45000, 1, 3600000, "a member silent for so long is expelled"),
        _int("heartbeat.interval.ms", 3000, 1, 3600000, "time between heartbeats"),
        _int("max.poll.interval.ms", 300000, 1, 86400000, "a member that polls less often is expelled"),
        _bool("enable.auto.commit", True, "commit stored offsets in the background", "auto.commit.enable"),
        _int("auto.commit.interval.ms", 5000, 0, 86400000, "time between those commits"),
        _bool("enable.auto.offset.store", True, "store the offset of each message handed over"),
        _RESET,
        _int("queued.min.messages", 100000, 1, 10000000, "messages kept ready for each partition"),
        _int("queued.max.messages.kbytes", 65536, 1, 2097151, "memory for messages kept ready"),
        _int("fetch.wait.max.ms", 500, 0, 300000, "longest wait of one fetch for new messages"),
        _int(
            "max.partition.fetch.bytes", 1048576, 1, 1000000000, "size of a fetch", "fetch.message.max.bytes"
        ),
        _bool("enable.partition.eof", False, "a _PARTITION_EOF message at the end of each partition"),
        _callback("on_commit", "called with (KafkaError or None, list of TopicPartition)"),
    ),
)

_SHARE = "of share consumers"
_LOGGING = "use the logger `streamadapter`"

_HINTS = (
    *_section(
        "hint",
        "*",
        _callback("throttle_cb", "never called: a store has no quotas"),
        _callback("stats_cb", "see statistics.interval.ms"),
        _callback("logger", _LOGGING),
        _IN_FLIGHT,
        _bool("allow.auto.create.topics", False, "as on a broker with auto.create.topics.enable=false"),
        _int(
            "socket.connection.setup.timeout.ms", 30000, 1000, _MAX, "socket.timeout.ms bounds connecting too"
        ),
        _bool("socket.keepalive.enable", False, "always enabled"),
        _int("reconnect.backoff.ms", 100, 0, 3600000, "retry.backoff.ms is for connecting too"),
        _int("reconnect.backoff.max.ms", 10000, 0, 3600000, "retry.backoff.max.ms is for connecting too"),
        _int("metadata.max.age.ms", 900000, 1, 86400000, "see topic.metadata.refresh.interval.ms"),
        _string("client.rack", None, "reads go to the primary"),
        _string("debug", None, _LOGGING),
        _int("log_level", 6, 0, 7, _LOGGING),
        _bool("log.queue", False),
        _bool("log.thread.name", True),
        _bool("log.connection.close", True),
        _int("topic.metadata.refresh.fast.interval.ms", 100, 1, 60000),
        _int("topic.metadata.refresh.fast.cnt", 10, 0, 1000),
        _bool("topic.metadata.refresh.sparse", True),
        _enum(
            "metadata.recovery.strategy",
            "rebootstrap",
            ("none", "rebootstrap"),
            "the URL is always used again",
        ),
        _int("metadata.recovery.rebootstrap.trigger.ms", 300000, 0, _MAX),
        _enum(
            "client.dns.lookup",
            "use_all_dns_ips",
            ("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"),
        ),
        _enum("broker.address.family", "any", ("any", "v4", "v6")),
        _int("broker.address.ttl", 1000, 0, 86400000),
        _bool("enable.random.seed", True),
        _bool("enable.metrics.push", True),
        _int("enabled_events", 0, 0, _MAX),
        _int("internal.termination.signal", 0, 0, 128),
        _int("message.copy.max.bytes", 65535, 0, 1000000000),
        _int("receive.message.max.bytes", 100000000, 1000, _MAX),
        _int("socket.blocking.max.ms", 1000, 1, 60000),
        _int("socket.send.buffer.bytes", 0, 0, 100000000),
        _int("socket.receive.buffer.bytes", 0, 0, 100000000),
        _bool("socket.nagle.disable", True, "always disabled"),
        _int("socket.max.fails", 1, 0, 1000000),
        _int("connections.max.idle.ms", 0, 0, _MAX),
        _int("reconnect.backoff.jitter.ms", 0, 0, 3600000),
        _bool("api.version.request", True),
        _int("api.version.request.timeout.ms", 10000, 1, 300000),
        _int("api.version.fallback.ms", 0, 0, 604800000),
        _string("broker.version.fallback", "0.10.0"),
        _string("client.software.name"),
        _string("client.software.version"),
    ),
    *_section(
        "hint",
        "P",
        _int("transaction.timeout.ms", 60000, 1000, _MAX, "see transactional.id"),
        _int("queue.buffering.backpressure.threshold", 1, 1, 1000000),
        _bool("produce.offset.report", False, "always reported"),
    ),
    *_section(
        "hint",
        "C",
        _enum(
            "isolation.level",
            "read_committed",
            ("read_uncommitted", "read_committed"),
            "see transactional.id",
        ),
        _bool("check.crcs", False, "always checked"),
        _int("fetch.min.bytes", 1, 0, _MAX, "a fetch returns as soon as it has a batch"),
        _int("fetch.max.bytes", 52428800, 0, 2147483135, "max.partition.fetch.bytes bounds a fetch"),
        _int("fetch.queue.backoff.ms", 1000, 0, 300000),
        _int("fetch.error.backoff.ms", 500, 0, 300000, "retry.backoff.ms is for fetching too"),
        _int("consume.callback.max.messages", 0, 0, 1000000),
        _int("coordinator.query.interval.ms", 600000, 1, 3600000, "there is no coordinator to look for"),
        _string("group.protocol.type", "consumer"),
        _string("offset.store.path", "."),
        _int("offset.store.sync.interval.ms", -1, -1, 86400000),
        _int("max.poll.records", 500, 1, _MAX, _SHARE),
        _string("share.acknowledgement.mode", "implicit", _SHARE),
    ),
)

_TLS_FILES = "give files: ssl.ca.location, ssl.certificate.location, ssl.key.location"
_HOST_NAME = "the host name is verified whenever the certificate is"
_OPENSSL = "set it in OpenSSL's own configuration file"
_SASL = "SASL is Kafka's; give user and password in the URL or in the config file"
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_MOCK = "use bootstrap.servers=memory://name for tests"

_UNSUPPORTED = (
    *_section(
        "unsupported",
        "*",
        _enum("security.protocol", "plaintext", _PROTOCOLS, "the URL decides: rediss:// is TLS"),
        _callback("oauth_cb", _SASL),
        _bool("enable.sasl.oauthbearer.unsecure.jwt", False, _SASL),
        _int("statistics.interval.ms", 0, 0, 86400000, "there are no statistics"),
        _enum("ssl.endpoint.identification.algorithm", "https", ("none", "https"), _HOST_NAME),
        _string("topic.blacklist", None, "subscribe to a regular expression that leaves the topics out"),
        _string("plugin.library.paths", None, "librdkafka's plug-ins cannot be loaded"),
        _int("test.mock.num.brokers", 0, 0, 10000, _MOCK),
        _int("test.mock.broker.rtt", 0, 0, _MAX, _MOCK),
        _string("ssl.ca.pem", None, _TLS_FILES),
        _string("ssl.certificate.pem", None, _TLS_FILES),
        _string("ssl.key.pem", None, _TLS_FILES),
        _string("ssl.keystore.location", None, _TLS_FILES),
        _string("ssl.keystore.password", None, _TLS_FILES),
        _string("ssl.ca.certificate.stores", "Root", _TLS_FILES),
        _string("https.ca.location", None, _SASL),
        _string("https.ca.pem", None, _SASL),
        _string("ssl.cipher.suites", None, _OPENSSL),
        _string("ssl.curves.list", None, _OPENSSL),
        _string("ssl.sigalgs.list", None, _OPENSSL),
        _string("ssl.crl.location", None, _OPENSSL),
        _string("ssl.providers", None, _OPENSSL),
        _string("ssl.engine.location", None, _OPENSSL),
        _string("ssl.engine.id", "dynamic", _OPENSSL),
    ),
    *_section(
        "unsupported",
        "P",
        _string("transactional.id", None, "transactions are not implemented on this backend"),
        _bool("enable.gapless.guarantee", False, "experimental in librdkafka"),
        _enum("queuing.strategy", "fifo", ("fifo", "lifo"), "messages are sent in the order of produce()"),
    ),
    *_section(
        "unsupported",
        "C",
        _enum(
            "offset.store.method", "broker", ("none", "file", "broker"), "offsets are stored with the group"
        ),
    ),
)

PROPERTIES: tuple[Property, ...] = (*_HONOURED, *_HINTS, *_UNSUPPORTED)

SASL_PREFIX = "sasl."
SASL = Property("sasl.*", "string", None, _SASL, support="unsupported")
"""Stands for all thirty properties that begin with SASL_PREFIX."""

# fmt: off
CALL_ONLY = frozenset((
    "background_event_cb", "builtin.features", "closesocket_cb", "connect_cb", "consume_cb",
    "default_topic_conf", "dr_cb", "dr_msg_cb", "interceptors", "log_cb", "msg_order_cmp",
    "oauthbearer_token_refresh_cb", "offset_commit_cb", "opaque", "open_cb", "partitioner_cb",
    "rebalance_cb", "resolve_cb", "socket_cb",
    "ssl.certificate.verify_cb", "ssl_ca", "ssl_certificate", "ssl_engine_callback_data", "ssl_key",
))
# fmt: on
"""Properties that only C code can set; confluent_kafka refuses them too."""
