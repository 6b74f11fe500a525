"""`streamadapter topics`: create, alter, delete, list and describe topics, as kafka-topics does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from confluent_kafka import KafkaError, KafkaException, TopicCollection

from streamadapter.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
    TopicDescription,
)
from streamadapter.cli.common import (
    client_options,
    examples,
    key_values,
    one_action,
    print_json,
    results,
    timeout_s,
    use_config_file,
)


@click.command(
    epilog=examples(
        "streamadapter topics --create --topic orders --partitions 4 --config retention.ms=86400000",
        "streamadapter topics --describe --topic orders",
        "streamadapter topics --alter --topic orders --partitions 8",
        "streamadapter topics --list -b redis://localhost:6379/0",
        "streamadapter topics --delete --topic 'test-.*' --if-exists",
    )
)
@click.option("--create", is_flag=True, help="Create a topic.")
@click.option("--alter", is_flag=True, help="Add partitions, or change configs.")
@click.option("--delete", is_flag=True, help="Delete topics with all their messages.")
@click.option("--list", "list_", is_flag=True, help="List names of topics.")
@click.option("--describe", is_flag=True, help="Show partitions and configs; of all topics without --topic.")
@click.option("-t", "--topic", help="The topic; but for --create a regular expression will do.")
@click.option("--partitions", type=click.IntRange(min=1), help="Number of partitions; it can only grow.")
@click.option("--replication-factor", type=int, default=-1, help="Left to the server unless on Kafka.")
@click.option(
    "--config", "configs", multiple=True, metavar="K=V|FILE", help="Topic config, or the config file."
)
@click.option(
    "--delete-config", "deleted", multiple=True, metavar="K", help="With --alter: back to the default."
)
@click.option("--if-not-exists", is_flag=True, help="With --create: an existing topic is not an error.")
@click.option("--if-exists", is_flag=True, help="With the others: a missing topic is not an error.")
@click.option("--json", "as_json", is_flag=True, help="JSON for machines.")
@client_options
def topics(
    conf: dict[str, Any],
    *,
    create: bool,
    alter: bool,
    delete: bool,
    list_: bool,
    describe: bool,
    topic: str | None,
    partitions: int | None,
    replication_factor: int,
    configs: tuple[str, ...],
    deleted: tuple[str, ...],
    if_not_exists: bool,
    if_exists: bool,
    as_json: bool,
) -> None:
    """Create, alter, delete, list and describe topics (Kafka's kafka-topics)."""
    action = one_action(
        {"create": create, "alter": alter, "delete": delete, "list": list_, "describe": describe}
    )
    if topic is None and action in ("create", "alter", "delete"):
        raise click.UsageError(f"--{action} needs --topic")
    # Two habits meet in --config: Kafka's k=v, and this program's config file.
    for text in configs:
        if "=" not in text:
            use_config_file(Path(text))
    set_configs = key_values(text for text in configs if "=" in text)
    if action == "alter" and not (partitions or set_configs or deleted):
        raise click.UsageError("--alter needs --partitions, --config k=v or --delete-config k")
    admin = AdminClient(conf)
    if action == "create" and topic is not None:
        _create(
            admin, NewTopic(topic, partitions or -1, replication_factor, config=set_configs), if_not_exists
        )
        return
    known = sorted(admin.list_topics(timeout=timeout_s(conf)).topics)
    names = _matching(known, topic, must_exist=action != "list" and not if_exists)
    if action == "list":
        _print_names(names, as_json)
    elif action == "describe":
        _describe(admin, names, as_json)
    elif action == "delete":
        results(admin.delete_topics(names)) if names else None
    else:
        _alter(admin, names, partitions, set_configs, deleted)


def _create(admin: AdminClient, new: NewTopic, if_not_exists: bool) -> None:
    try:
        results(admin.create_topics([new]))
    except KafkaException as error:
        if not (if_not_exists and error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS):
            raise
    else:
        click.echo(f"Created topic {new.topic}.")


def _matching(known: list[str], topic: str | None, must_exist: bool) -> list[str]:
    """Names of existing topics: `topic` itself, else those it matches as a regular expression."""
    if topic is None or topic in known:
        return known if topic is None else [topic]
    try:
        pattern = re.compile(topic)
    except re.error as error:
        raise click.UsageError(f"--topic is neither a topic nor a regular expression: {error}") from None
    names = [name for name in known if pattern.fullmatch(name)]
    if must_exist and not names:
        raise click.ClickException(f"Topic '{topic}' does not exist as expected")
    return names


def _print_names(names: list[str], as_json: bool) -> None:
    if as_json:
        print_json(names)
        return
    for name in names:
        click.echo(name)


def _alter(
    admin: AdminClient,
    names: list[str],
    partitions: int | None,
    configs: dict[str, str],
    deleted: Iterable[str],
) -> None:
    changes = [
        *(_change(key, value, AlterConfigOpType.SET) for key, value in configs.items()),
        *(_change(key, None, AlterConfigOpType.DELETE) for key in deleted),
    ]
    if changes and names:
        resources = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=changes) for name in names]
        results(admin.incremental_alter_configs(resources))
    if partitions is not None and names:
        results(admin.create_partitions([NewPartitions(name, partitions) for name in names]))


def _change(key: str, value: str | None, operation: AlterConfigOpType) -> ConfigEntry:
    return ConfigEntry(key, value, incremental_operation=operation)


def _describe(admin: AdminClient, names: list[str], as_json: bool) -> None:
    if not names:
        print_json([]) if as_json else None
        return
    descriptions = results(admin.describe_topics(TopicCollection(names)))
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    configs = {
        resource.name: {
            entry.name: entry.value
            for entry in entries.values()
            if ConfigSource(entry.source) is ConfigSource.DYNAMIC_TOPIC_CONFIG
        }
        for resource, entries in results(admin.describe_configs(resources)).items()
    }
    if as_json:
        print_json([_as_dict(descriptions[name], configs[name]) for name in names])
        return
    for name in names:
        _print_description(descriptions[name], configs[name])


def _as_dict(topic: TopicDescription, configs: dict[str, str | None]) -> dict[str, Any]:
    return {
        "topic": topic.name,
        "topic_id": str(topic.topic_id),
        "configs": configs,
        "partitions": [
            {
                "partition": partition.id,
                "leader": partition.leader.id if partition.leader else None,
                "replicas": [node.id for node in partition.replicas],
                "isr": [node.id for node in partition.isr],
            }
            for partition in topic.partitions
        ],
    }


def _print_description(topic: TopicDescription, configs: dict[str, str | None]) -> None:
    shown = ",".join(f"{key}={value}" for key, value in sorted(configs.items()))
    factor = len(topic.partitions[0].replicas) if topic.partitions else 0
    click.echo(
        f"Topic: {topic.name}\tTopicId: {topic.topic_id}\tPartitionCount: {len(topic.partitions)}\t"
        f"ReplicationFactor: {factor}\tConfigs: {shown}"
    )
    for partition in topic.partitions:
        click.echo(
            f"\tTopic: {topic.name}\tPartition: {partition.id}\t"
            f"Leader: {partition.leader.id if partition.leader else 'none'}\t"
            f"Replicas: {_ids(partition.replicas)}\tIsr: {_ids(partition.isr)}"
        )


def _ids(nodes: Iterable[Any]) -> str:
    return ",".join(str(node.id) for node in nodes)
