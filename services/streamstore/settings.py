"""The `[streamstore]` table of the config file: the services' own settings.

Every setting can also come from the environment, which wins: ``STREAMSTORE_DATA_DIR``, and with two underscores
for a nested one, ``STREAMSTORE_SMTP__PASSWORD``. That is the way for secrets.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

LOOPBACK = ("localhost", "127.0.0.1", "::1")


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
    """Settings of all five services, paths made absolute by `load_settings`."""

    model_config = SettingsConfigDict(
        extra="forbid", env_prefix="STREAMSTORE_", env_nested_delimiter="__", validate_default=True
    )

    data_dir: Path = Path("streamstore-data")
    database: SecretStr = SecretStr("sqlite:///{data_dir}/{service}.db")  # secret: it may hold a password
    outbox: Path = Path("{data_dir}/outbox")
    sender: str = "StreamStore <orders@streamstore.example>"
    recipient: str = "customer-{customer}@streamstore.example"
    smtp: Smtp | None = None
    topic: str = "order-events"
    partitions: int = Field(default=4, ge=1)  # of the topic, if it is still to be created
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
