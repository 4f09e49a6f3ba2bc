"""Reading a service's settings: flags over environment over YAML, with errors that name the key and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class ServiceConfig(BaseSettings):
    """What every service's configuration has in common: unknown keys are errors, values are immutable."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        case_sensitive=False,
        enable_decoding=False,  # an environment variable is text, never JSON; lists are separated by commas
    )


Config = TypeVar("Config", bound=ServiceConfig)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping at the top of a YAML file; an empty file is an empty mapping."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"configuration file {path} does not exist; name one with --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"configuration file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigurationError(f"configuration file {path} is not YAML: {problem}") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigurationError(f"configuration file {path} must hold `key: value` lines at its top level")
    return document


def load(model: type[Config], path: Path | None, flags: Mapping[str, Any] | None = None) -> Config:
    """Validates the settings of one service. `flags` that are None were not given."""
    document = read_yaml(path) if path is not None else {}
    given = {key: value for key, value in (flags or {}).items() if value is not None}

    class Sourced(model):  # type: ignore[misc, valid-type]
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=document)

    try:
        config: Config = Sourced(**given)
    except ValidationError as error:
        raise ConfigurationError(describe(error, path)) from None
    return config


def describe(error: ValidationError, path: Path | None) -> str:
    """All faults of a configuration on one line, each with its key; secrets are never echoed."""
    faults = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"]) or "configuration"
        match fault["type"]:
            case "missing":
                faults.append(f"`{key}` is missing")
            case "extra_forbidden":
                faults.append(f"`{key}` is not a known key (misspelt?)")
            case _:
                message = fault["msg"].removeprefix("Value error, ")
                # What is wrong with the whole has the whole for its value, with every secret in it.
                secret = not fault["loc"] or any(word in key for word in ("key", "password", "token"))
                value = "" if secret else f" (got {fault['input']!r})"
                faults.append(f"`{key}`: {message}{value}")
    where = str(path) if path is not None else "configuration"
    return f"{where}: " + "; ".join(faults)
