"""Settings of `mach-verifier` in cross-check mode: for rollups whose blocks it cannot re-execute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from mach.config.loading import ServiceConfig, load, read_yaml
from mach.config.values import (
    ChainId,
    CommaSeparated,
    FilePath,
    Listen,
    ListenAddress,
    LoopbackListen,
    Seconds,
    ServerUrl,
)
from mach.config.verifier import VerifierConfig

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class CrossCheckEndpoint:
    """An endpoint's URL and the label of whoever runs it."""

    provider: str
    url: str

    @classmethod
    def parse(cls, value: Any) -> CrossCheckEndpoint:
        """From `PROVIDER=URL`, or from a mapping with the keys `provider` and `url`."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            provider, _, url = value.partition("=")
        elif isinstance(value, dict) and set(value) == {"provider", "url"}:
            provider, url = str(value["provider"]), str(value["url"])
        else:
            raise ValueError("must be PROVIDER=URL, or a mapping with `provider` and `url`")
        provider, url = provider.strip().lower(), url.strip().rstrip("/")
        parts = urlsplit(url)
        if not provider or "/" in provider or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                "must be PROVIDER=URL with a provider's label and a URL that starts with http:// or https://"
            )
        return cls(provider, url)

    def __str__(self) -> str:
        return f"{self.provider}={self.url}"


EndpointValue = Annotated[
    CrossCheckEndpoint,
    BeforeValidator(CrossCheckEndpoint.parse),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]


class CrossCheckConfig(ServiceConfig):
    """One rollup that is cross-checked: independent endpoints, and how many of them must agree."""

    verifier_mode: Literal["cross-check"] = Field(description="`cross-check`: agreement of endpoints, no re-execution")
    layer2_chain_id: ChainId
    cross_check_endpoints: Annotated[list[EndpointValue], CommaSeparated, Field(min_length=2, max_length=64)] = Field(
        description="PROVIDER=URL each; the label says who runs it, and endpoints of one provider count as one provider"
    )
    cross_check_agreement: Annotated[int, Field(ge=2)] = Field(
        description="how many endpoints must agree, more than half of all; one that is away never lowers it"
    )
    cross_check_providers: Annotated[int, Field(ge=1)] = Field(
        default=2, description="how many different providers there must be among those that agree"
    )
    disagreement_settle_s: Seconds = Field(
        default=6.0, description="a disagreement counts if it still stands after this time: a reorganisation does not"
    )
    alert_on_disagreement: bool = Field(
        default=False,
        description="raise an alert over a block that an endpoint serves against the agreement of the others; signed "
        "only by operators with sign_agreement",
    )
    operators: Annotated[list[ServerUrl], CommaSeparated] = Field(
        default=[], description="operator signers that are told of an alert"
    )
    database_url: str = "sqlite+aiosqlite:///mach-verifier.sqlite"
    start_block: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="first block to check on an empty database; the head at start when not given"
    )
    poll_interval_s: Seconds = 0.25
    rpc_timeout_s: Seconds = 10.0
    operator_timeout_s: Seconds = Field(default=20.0, description="how long an operator may take over one alert")
    max_blocks_in_flight: Annotated[int, Field(ge=1, le=256)] = Field(
        default=8, description="blocks that are asked for at the same time while catching up"
    )
    metrics_ip_port_address: Listen | None = Field(
        default=None, description="/metrics, /healthz and /readyz; off when not given"
    )
    verdict_api_token_file: FilePath | None = Field(
        default=None, description="turns the verdict API on: a secret of 32 or more characters, shared with operators"
    )
    verdict_api_ip_port_address: LoopbackListen = Field(
        default=ListenAddress("127.0.0.1", 8391), description="where operators ask before they sign; loopback only"
    )

    @model_validator(mode="after")
    def _rule_that_can_hold(self) -> Self:
        endpoints = self.cross_check_endpoints
        count, providers = len(endpoints), len({endpoint.provider for endpoint in endpoints})
        if len({endpoint.url for endpoint in endpoints}) != count:
            raise ValueError("cross_check_endpoints names one URL twice: it would agree with itself")
        if not count / 2 < self.cross_check_agreement <= count:
            raise ValueError(
                f"cross_check_agreement is {self.cross_check_agreement} of {count} endpoints: set {count // 2 + 1} to "
                f"{count}, so that no two blocks can both be agreed on"
            )
        if self.cross_check_providers > min(providers, self.cross_check_agreement):
            raise ValueError(
                f"cross_check_providers is {self.cross_check_providers}: {self.cross_check_agreement} endpoints of the "
                f"{providers} providers that are named can never be of so many"
            )
        return self


def load_verifier(path: Path) -> VerifierConfig | CrossCheckConfig:
    """The settings of a verifier, of the mode that its file names. Raises `ConfigurationError`."""
    cross_check = read_yaml(path).get("verifier_mode") == "cross-check"
    return load(CrossCheckConfig, path) if cross_check else load(VerifierConfig, path)
