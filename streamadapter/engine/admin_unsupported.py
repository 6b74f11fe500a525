"""The admin requests that a log store does not know: users, rights and leaders are the server's own affair."""

# ruff: noqa: ARG002  the signatures are confluent_kafka's, with options that mean nothing here

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import ElectionType, KafkaError, TopicPartition

from streamadapter.errors import kafka_exception

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked as re-exported
        AclBinding,
        AclBindingFilter,
        UserScramCredentialAlteration,
        UserScramCredentialsDescription,
    )

K = TypeVar("K")

_ACLS = "ACLs are not supported by this backend: rights are the server's (ACL SETUSER)"
_SCRAM = "SCRAM credentials are not supported by this backend: users are the server's (ACL SETUSER)"
_ELECTION = (
    "Leader election is not supported by this backend: the server's failover decides (Sentinel, FAILOVER)"
)


class UnsupportedRequests:
    """Methods of confluent_kafka.admin.AdminClient whose futures fail with _UNSUPPORTED_FEATURE, saying why.

    Their options (request_timeout and so on) are accepted and not looked at.
    """

    def create_acls(self, acls: list[AclBinding], **_: Any) -> dict[AclBinding, Future[None]]:
        """Not supported."""
        return _failed_each(acls, _ACLS)

    def describe_acls(self, acl_binding_filter: AclBindingFilter, **_: Any) -> Future[list[AclBinding]]:
        """Not supported."""
        return _failed(_ACLS)

    def delete_acls(
        self, acl_binding_filters: list[AclBindingFilter], **_: Any
    ) -> dict[AclBindingFilter, Future[list[AclBinding]]]:
        """Not supported."""
        return _failed_each(acl_binding_filters, _ACLS)

    def describe_user_scram_credentials(
        self, users: list[str] | None = None, **_: Any
    ) -> (
        Future[dict[str, UserScramCredentialsDescription]]
        | dict[str, Future[UserScramCredentialsDescription]]
    ):
        """Not supported."""
        return _failed(_SCRAM) if users is None else _failed_each(users, _SCRAM)

    def alter_user_scram_credentials(
        self, alterations: list[UserScramCredentialAlteration], **_: Any
    ) -> dict[str, Future[None]]:
        """Not supported."""
        return _failed_each([alteration.user for alteration in alterations], _SCRAM)

    def elect_leaders(
        self, election_type: ElectionType, partitions: list[TopicPartition] | None = None, **_: Any
    ) -> Future[dict[TopicPartition, Any]]:
        """Not supported."""
        return _failed(_ELECTION)

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Not supported: raises KafkaException(_UNSUPPORTED_FEATURE)."""
        raise kafka_exception(
            KafkaError._UNSUPPORTED_FEATURE,
            "Credentials cannot be changed while connected: open a new client with the new ones in its URL",
        )


def _failed(reason: str) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(kafka_exception(KafkaError._UNSUPPORTED_FEATURE, reason))
    return future


def _failed_each(keys: Iterable[K], reason: str) -> dict[K, Future[Any]]:
    return {key: _failed(reason) for key in keys}
