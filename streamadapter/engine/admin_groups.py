"""What the admin client sees of consumer groups and does to them, as `Work` (see calls.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked as re-exported
    ConsumerGroupDescription,
    ConsumerGroupListing,
    GroupMember,
    GroupMetadata,
    ListConsumerGroupsResult,
    MemberAssignment,
    MemberDescription,
)

from streamadapter.engine import coordinator
from streamadapter.engine.calls import each
from streamadapter.engine.metadata import broker_metadata, broker_node
from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from confluent_kafka import Node

    from streamadapter.backend import TP, LogStore
    from streamadapter.engine.calls import Work
    from streamadapter.engine.coordinator import GroupState, Member


def list_groups(
    store: LogStore, states: Collection[ConsumerGroupState], types: Collection[ConsumerGroupType]
) -> ListConsumerGroupsResult:
    """The groups in one of these states and of one of these types; empty: in any."""
    valid: list[ConsumerGroupListing] = []
    errors: list[Any] = []  # of KafkaError, though the result declares exceptions
    for name, state in each(store.groups(), lambda group: _look(store, group)).items():
        if isinstance(state, StoreError):
            if state.retriable:
                raise state
            errors.append(state.kafka_error())
            continue
        status, kind = coordinator.group_status(state), _type(state)
        if (not states or status in states) and (not types or kind in types):
            valid.append(ConsumerGroupListing(name, _simple(state), status, kind))
    return ListConsumerGroupsResult(valid, errors)


def describe_groups(store: LogStore) -> Work[str, ConsumerGroupDescription]:
    """Describe groups; one that does not exist is DEAD and not an error, as with Kafka before 4.0."""

    def attempt(groups: list[str]) -> Mapping[str, ConsumerGroupDescription | StoreError]:
        node = broker_node(store)
        return each(groups, lambda group: _describe(store, group, node))

    return attempt


def delete_groups(store: LogStore) -> Work[str, None]:
    """Delete groups with their offsets. One that an earlier attempt asked to delete, and that is gone, was deleted."""
    asked: set[str] = set()

    def delete(group: str) -> None:
        again = group in asked
        asked.add(group)
        try:
            store.delete_group(group)
        except StoreError as e:
            if not (again and e.code == KafkaError.GROUP_ID_NOT_FOUND):
                raise

    return lambda groups: each(groups, delete)


def delete_offsets(store: LogStore, group: str, tps: Sequence[TP]) -> None:
    """Forget committed offsets, unless a live member is subscribed to one of the topics.

    Raises StoreError(GROUP_ID_NOT_FOUND, GROUP_SUBSCRIBED_TO_TOPIC).
    """
    state = _look(store, group)
    subscribed = {topic for member in state.members.values() for topic in member.spec.subscription}
    busy = sorted(subscribed & {topic for topic, _ in tps})
    if busy:
        raise StoreError(
            KafkaError.GROUP_SUBSCRIBED_TO_TOPIC,
            f'Group "{group}" has live members that are subscribed to {", ".join(busy)}: stop them first',
        )
    if not state.members and group not in store.groups():
        raise StoreError(KafkaError.GROUP_ID_NOT_FOUND, f'Group "{group}" does not exist')
    store.delete_offsets([group], tps)


def legacy_groups(store: LogStore, group: str | None) -> list[GroupMetadata]:
    """What the deprecated list_groups returns: all groups, or the one asked for if it exists."""
    names = store.groups() if group is None else [name for name in store.groups() if name == group]
    return [_legacy(store, name) for name in names]


def _look(store: LogStore, group: str) -> GroupState:
    """The group's state without the members whose session has ended: nobody may be left to evict them."""
    view = store.group_heartbeat(group, "", 0, 0)
    return coordinator.leave(coordinator.decode(view.state or b""), view.expired)


def _simple(state: GroupState) -> bool:
    """No member ever: the group only keeps offsets."""
    return state.generation == 0


def _type(state: GroupState) -> ConsumerGroupType:
    return ConsumerGroupType.CLASSIC if state.classic else ConsumerGroupType.CONSUMER


def _describe(store: LogStore, group: str, node: Node) -> ConsumerGroupDescription:
    if not group:
        raise StoreError(KafkaError.INVALID_GROUP_ID, "A group's name is not empty")
    state = _look(store, group)
    status = coordinator.group_status(state)
    if _simple(state) and not store.committed(group):
        status = ConsumerGroupState.DEAD
    return ConsumerGroupDescription(
        group,
        _simple(state),
        [_member(member_id, member, state.classic) for member_id, member in sorted(state.members.items())],
        state.assignor,
        status,
        node,
        type=_type(state),
    )


def _member(member_id: str, member: Member, classic: bool) -> MemberDescription:
    """In a classic group a target is not shown, as Kafka has none there."""
    return MemberDescription(
        member_id,
        member.spec.client_id,
        member.spec.client_host,
        _assignment(member.owned),
        member.spec.instance_id,
        None if classic else _assignment(member.target),
    )


def _assignment(tps: Iterable[TP]) -> MemberAssignment:
    return MemberAssignment([TopicPartition(topic, partition) for topic, partition in sorted(tps)])


_LEGACY_STATES = {
    ConsumerGroupState.EMPTY: "Empty",
    ConsumerGroupState.STABLE: "Stable",
    ConsumerGroupState.PREPARING_REBALANCING: "PreparingRebalance",
}


def _legacy(store: LogStore, name: str) -> GroupMetadata:
    state = _look(store, name)
    metadata = GroupMetadata()
    group: Any = metadata  # its attributes are declared as None
    group.broker, group.id = broker_metadata(store), name
    group.state = _LEGACY_STATES[coordinator.group_status(state)]
    group.protocol_type, group.protocol = "" if _simple(state) else "consumer", state.assignor
    for member_id, member in sorted(state.members.items()):
        shown: Any = GroupMember()  # as above
        shown.id, shown.client_id, shown.client_host = (
            member_id,
            member.spec.client_id,
            member.spec.client_host,
        )
        shown.metadata = shown.assignment = (
            b""  # Kafka's wire formats; describe_consumer_groups has the assignment
        )
        group.members.append(shown)
    return metadata
