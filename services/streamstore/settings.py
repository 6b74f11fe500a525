"""The `[streamstore]` table of the config file: the services' own settings.

Every setting can also come from the environment, which wins: ``STREAMSTORE_DATA_DIR``, and with two underscores
for a nested one, ``STREAMSTORE_SMTP__PASSWORD``. That is the way for secrets.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PORTS = (
    "order",
    "dashboard",
    "delivery_tracking",
    "chat",
    "inventory",
    "billing",
    "notification",
    "analytics",
)
"""Who listens on `port`, `port` + 1, and so on; the last four in the synchronous architecture only."""


class SettingsError(ValueError):
    """The settings cannot be used; the text is one line that says which, why, and what was probably meant."""


class Smtp(BaseModel):
    """Where confirmation mails go when they are not to be written into the outbox."""

    model_config = ConfigDict(extra="forbid")

    host: str
    port: int = Field(default=25, ge=1, le=65535)
    starttls: bool = False
    username: str | None = None
    password: SecretStr | None = None
    timeout_seconds: float = Field(default=10, gt=0)

    @model_validator(mode="after")
    def _password_is_encrypted(self) -> Smtp:
        if self.password is not None and not self.starttls and self.host not in LOOPBACK:
            raise ValueError(f"the password would go to {self.host} in plain text: set starttls = true")
        return self


class Settings(BaseSettings):
    """Settings of all services, paths made absolute by `load_settings`."""

    model_config = SettingsConfigDict(
        extra="forbid", env_prefix="STREAMSTORE_", env_nested_delimiter="__", validate_default=True
    )

    data_dir: Path = Path("streamstore-data")
    database: SecretStr = SecretStr("sqlite:///{data_dir}/{service}.db")  # secret: it may hold a password
    outbox: Path = Path("{data_dir}/outbox")
    sender: str = "StreamStore <orders@streamstore.example>"
    recipient: str = "customer-{customer}@streamstore.example"
    smtp: Smtp | None = None
    architecture: Literal["events", "synchronous"] = (
        "events"  # synchronous: services call each other over HTTP
    )
    instance: str = ""  # which of a service's instances this process is; its supervisor says so
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535 - len(PORTS) + 1)  # the order service's; others follow
    topic: str = "order-events"
    status_topic: str = "order-status"
    dead_letter_topic: str = "dead-letters"
    locations_topic: str = "delivery-locations"
    chat_topic: str = "chat-messages"
    partitions: int = Field(default=4, ge=1)  # of a topic that is still to be created
    opening_stock: int = Field(default=1_000_000, ge=0)  # units of each product before its first order
    accept_seconds: float = Field(
        default=5, gt=0
    )  # an order that is not acknowledged by then is answered 503
    attempts: int = Field(
        default=3, ge=1
    )  # at an order that a service fails at, its batch's included; then it is a dead letter
    retry_seconds: float = Field(default=0.2, ge=0)  # before the second attempt; doubled for each further one
    batch_size: int = Field(default=200, ge=1, le=10_000)  # events a transaction, at most
    session_timeout_ms: int = Field(default=6_000, ge=1_000, le=300_000)  # Kafka's brokers: 6,000 at least
    patience_seconds: float = Field(default=60, gt=0)  # a replay without any progress for so long has failed

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose table comes as the constructor's arguments."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @property
    def topics(self) -> tuple[str, ...]:
        """All that the services use."""
        return (
            self.topic,
            self.status_topic,
            self.dead_letter_topic,
            self.locations_topic,
            self.chat_topic,
        )

    @property
    def accept_ms(self) -> int:
        """`accept_seconds` for a Producer, to whom 0 would mean without a limit."""
        return max(1, int(self.accept_seconds * 1000))

    def port_of(self, service: str) -> int:
        """Where the service, or the dashboard, answers HTTP."""
        return self.port + PORTS.index(service)

    def client_id(self, service: str) -> str:
        """What the service's clients are called, its instance included."""
        return f"streamstore-{self.instance or service}"

    def database_url(self, service: str) -> str:
        """The service's connection URL, password and all: not for logs."""
        url = self.database.get_secret_value()
        return url.replace("{data_dir}", str(self.data_dir)).replace("{service}", service)


def load_settings(table: Mapping[str, Any], directory: Path) -> Settings:
    """Validate the table; relative paths in it begin at `directory`, the config file's. Raises SettingsError."""
    try:
        settings = Settings(**table)
    except ValidationError as error:
        raise SettingsError("; ".join(map(_explain, error.errors()))) from None  # its text has the values
    data_dir = (directory / settings.data_dir).absolute()
    outbox = directory / str(settings.outbox).replace("{data_dir}", str(data_dir))
    return settings.model_copy(update={"data_dir": data_dir, "outbox": outbox.absolute()})


def _explain(problem: Any) -> str:
    *parents, name = (str(part) for part in problem["loc"])
    where = ".".join(["streamstore", *parents, name])
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg']}"
    known = Smtp.model_fields if parents else Settings.model_fields
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"{where}: no such setting; {hint}"
