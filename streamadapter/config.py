"""The config file: which backend clients use when they are given no ``bootstrap.servers``, and defaults.

The file is ``$STREAMADAPTER_CONFIG``, else ``streamadapter.toml`` or ``streamadapter.yaml`` in the working
directory, else there is none and the embedded server is used. Variables override it: ``STREAMADAPTER_BACKEND``,
``STREAMADAPTER_REDIS__URL`` (two underscores between section and key), ``STREAMADAPTER_PRODUCER__LINGER_MS``.
Every mistake is a KafkaException(_INVALID_ARG) that names the file and the key, and never shows a value that
may be secret.
"""

from __future__ import annotations

import difflib
import importlib
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from confluent_kafka import KafkaException
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from streamadapter import topic_config
from streamadapter.backend import ENTRY_POINTS
from streamadapter.errors import StoreError
from streamadapter.properties import BY_NAME, invalid, parse

__all__ = ["Config", "load"]

_FILES = ("streamadapter.toml", "streamadapter.yaml")
_PREFIX = "STREAMADAPTER_"
_PATH_VARIABLE = _PREFIX + "CONFIG"


def _flat(table: Any) -> Any:
    """``linger.ms = 5`` without quotes is a table in a table in TOML; what is meant is clear."""
    if not isinstance(table, Mapping):
        return table
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in _flat(value).items()}
        else:
            flat[name] = value
    return flat


Properties = Annotated[dict[str, Any], BeforeValidator(_flat)]
"""A table of Kafka properties; their values may be secret, so sections of them are not in a repr."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EmbeddedSection(_Section):
    """[embedded]: `path` is the data directory, relative to the config file; `fsync` how safe an append is."""

    path: Path = Path("streamadapter-data")
    fsync: Literal["everysec", "always"] = "everysec"


class MemorySection(_Section):
    """[memory]: clients of one process with the same `name` share a log."""

    name: str = "default"


class RedisSection(_Section):
    """[redis]: a URL, and credentials apart from it; a password file's last line break is not part of it."""

    url: SecretStr = SecretStr("redis://localhost:6379/0")
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _one_password(self) -> RedisSection:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        return self

    def full_url(self, base: Path) -> str:
        """The URL with the credentials in it. A relative password_file is relative to `base`."""
        url = self.url.get_secret_value()
        password = self.password.get_secret_value() if self.password else None
        if self.password_file is not None:
            try:
                password = (base / self.password_file.expanduser()).read_text().rstrip("\r\n")
            except OSError as error:
                raise invalid(f"[redis] password_file: {error.strerror}: {error.filename}") from None
        if self.username is None and password is None:
            return url
        parts = urlsplit(url)
        username = self.username if self.username is not None else parts.username or ""
        if password is None:
            password = parts.password or ""
        netloc = f"{quote(username, safe='')}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
        return urlunsplit(parts._replace(netloc=netloc))


class TopicSection(BaseModel):
    """[topics.NAME]: partitions, and topic configs in Kafka's names."""

    model_config = ConfigDict(extra="allow", frozen=True)

    partitions: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, table: Any) -> Any:
        return _flat(table)

    def configs(self) -> dict[str, str]:
        """Topic configs as NewTopic takes them; whoever creates the topic checks them."""
        given = self.model_extra or {}
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in given.items()
        }


class _Environment(EnvSettingsSource):
    """Variables; since a name of one cannot hold a dot, LINGER_MS means linger.ms."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        for section in ("producer", "consumer", "kafka"):
            if isinstance(table := found.get(section), dict):
                found[section] = {
                    name if name in BY_NAME else name.replace("_", "."): table[name] for name in table
                }
        return found


class Config(BaseSettings):
    """What the file and the environment say. Immutable.

    `backend` names an installed backend. Sections that have no field here belong to third-party backends, by
    their entry points' names: a `url`, and properties.
    """

    model_config = SettingsConfigDict(
        extra="allow", frozen=True, env_prefix=_PREFIX, env_nested_delimiter="__", env_ignore_empty=True
    )

    backend: str = "embedded"
    embedded: EmbeddedSection = EmbeddedSection()
    memory: MemorySection = MemorySection()
    redis: RedisSection = RedisSection()
    kafka: Properties = Field(default={}, repr=False)
    producer: Properties = Field(default={}, repr=False)
    consumer: Properties = Field(default={}, repr=False)
    topics: dict[str, TopicSection] = {}
    streamstore: dict[str, Any] = Field(default={}, repr=False)
    _directory: Path = PrivateAttr(default_factory=Path)  # of the file; relative paths begin there

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file."""
        return _Environment(settings_cls), init_settings

    @field_validator("backend")
    @classmethod
    def _installed(cls, backend: str) -> str:
        if backend not in (known := _backends()):
            raise ValueError(f'no backend "{backend}" is installed{_suggest(backend, known)}')
        return backend

    @model_validator(mode="after")
    def _sections_are_of_backends(self) -> Config:
        known = {*type(self).model_fields, *_backends()}
        for name, section in (self.model_extra or {}).items():
            if name not in known:
                raise ValueError(f'unknown key "{name}"{_suggest(name, known)}')
            if not isinstance(section, Mapping) or not isinstance(section.get("url"), str):
                raise ValueError(f"[{name}] needs a url")
        return self

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Not the sections of third-party backends: what is secret in them is not known."""
        extra = self.model_extra or {}
        return [(name, value) for name, value in super().__repr_args__() if name not in extra]

    def connection(self) -> tuple[str, dict[str, Any]]:
        """URL of the chosen backend's server (with the password, if any) and properties of its section."""
        if self.backend == "embedded":
            path = (self._directory / self.embedded.path.expanduser()).absolute()
            return (
                f"embedded://{quote(str(path))}{'?fsync=always' if self.embedded.fsync == 'always' else ''}",
                {},
            )
        if self.backend == "memory":
            return "memory://" + quote(self.memory.name), {}
        if self.backend == "redis":
            return self.redis.full_url(self._directory), {}
        section = dict(
            self.kafka if self.backend == "kafka" else (self.model_extra or {}).get(self.backend, {})
        )
        url = section.pop("bootstrap.servers" if self.backend == "kafka" else "url", None)
        if not url:
            raise invalid(
                f"backend is {self.backend}, but no section [{self.backend}] says where its server is"
            )
        return str(url), section


def load(path: Path | None = None) -> Config:
    """The configuration from `path`, else from where the module's docstring says; never cached.

    Raises KafkaException(_INVALID_ARG) for a file that is missing though it was named, cannot be read or has a
    mistake in it.
    """
    if path is None and (named := os.environ.get(_PATH_VARIABLE)):
        path = Path(named)
    if path is None:
        path = next((Path(name) for name in _FILES if Path(name).is_file()), None)
    where = str(path) if path else "environment"
    table = _read(path) if path else {}
    _check_variables()
    try:
        config = Config(**table)
    except ValidationError as error:
        raise invalid(
            f"{where}: " + "; ".join(_explain(dict(mistake)) for mistake in error.errors())
        ) from None
    _check_properties(config, where)
    if path is not None:
        config._directory = path.parent
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except OSError as error:
        raise invalid(f"cannot read the config file {path}: {error.strerror}") from None
    try:
        table = _yaml(text) if path.suffix in (".yaml", ".yml") else tomllib.loads(text)
    except ValueError as error:
        raise invalid(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(table, dict):
        raise invalid(f"{path}: expected sections with keys")
    return table


def _yaml(text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise ValueError(
            "reading YAML needs PyYAML (pip install PyYAML); or use streamadapter.toml"
        ) from None
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _check_variables() -> None:
    """A misspelt variable would be ignored; only near misses are errors, other programs may use the prefix."""
    known = [name.upper() for name in Config.model_fields] + ["CONFIG"]
    for variable in os.environ:
        section = variable.removeprefix(_PREFIX).partition("__")[0]
        if variable.startswith(_PREFIX) and section not in known:
            near = difflib.get_close_matches(section, known, n=1, cutoff=0.8)
            if near:
                raise invalid(f"unknown variable {variable}; did you mean {_PREFIX}{near[0]}?")


def _check_properties(config: Config, where: str) -> None:
    if config.backend == "kafka":
        return  # librdkafka checks its own properties
    try:
        parse(config.producer, "producer")
        # A group.id is usually the program's, not the file's.
        parse({"group.id": "checked by the client"} | config.consumer, "consumer")
        for topic in config.topics.values():
            topic_config.validate(topic.configs())
    except KafkaException as error:
        raise invalid(f"{where}: {error.args[0].str()}") from None
    except StoreError as error:
        raise invalid(f"{where}: {error.reason}") from None
    except (TypeError, ValueError) as error:
        raise invalid(f"{where}: {error}") from None


def _explain(mistake: dict[str, Any]) -> str:
    """One mistake that pydantic found, in words; its input is left out, it may be secret."""
    *sections, key = [str(part) for part in mistake["loc"]] or [""]
    place = f"[{'.'.join(sections)}] " if sections else ""
    if mistake["type"] == "extra_forbidden":
        fields = _SECTIONS[sections[0]].model_fields if sections and sections[0] in _SECTIONS else {}
        return f'{place}unknown key "{key}"{_suggest(key, fields)}'
    message = str(mistake["msg"]).removeprefix("Value error, ")
    return f"{place}{key}: {message}" if key else f"{place}{message}"


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "embedded": EmbeddedSection,
    "memory": MemorySection,
    "redis": RedisSection,
}


def _backends() -> set[str]:
    return set(entry_points(group=ENTRY_POINTS).names)


def _suggest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(names)}"
