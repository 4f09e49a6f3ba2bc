"""Settings: where they come from, and what a wrong one is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from mach.config.aggregator import AggregatorConfig
from mach.config.loading import load
from mach.config.operator import OperatorConfig
from mach.config.values import ListenAddress
from mach.config.verifier import VerifierConfig
from mach.errors import ConfigurationError

SAMPLES = Path(__file__).parents[2] / "config-files"
SERVICES = {"aggregator": AggregatorConfig, "operator": OperatorConfig, "verifier": VerifierConfig}
LEAST = "eth_rpc_url: http://127.0.0.1:8545\nlayer1_chain_id: 1\nlayer2_chain_id: 10\n"


@pytest.mark.parametrize("name", SERVICES)
def test_samples_are_valid(name: str) -> None:
    assert load(SERVICES[name], SAMPLES / f"{name}.yaml").layer2_chain_id == 901


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_flags_win_over_environment_and_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, LEAST + "avs_deployment: from-file.json\n")
    monkeypatch.setenv("ETH_RPC_URL", "http://from-environment:1")
    monkeypatch.setenv("AVS_DEPLOYMENT", "from-environment.json")
    config = load(AggregatorConfig, path, {"avs_deployment": Path("from-flag.json"), "ecdsa_private_key": None})
    assert config.eth_rpc_url == "http://from-environment:1"
    assert config.avs_deployment == Path("from-flag.json")
    assert load(AggregatorConfig, path).avs_deployment == Path("from-environment.json")


def test_the_originals_environment_names_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, LEAST)
    for name, value in {
        "ECDSA_PRIVATE_KEY_PATH": "e.json",
        "BLS_PRIVATE_KEY_PATH": "b.json",
        "OPERATOR_SERVER_URL": ":7000",
        "AGGREGATOR_JSONRPC_SERVER_URL": "aggregator:8290",
        "EIGEN_METRICS_URL": "127.0.0.1:7001",
        "NODE_API_URL": "127.0.0.1:7002",
        "ENABLE_METRICS": "false",
        "OPERATOR_PRODUCTION": "true",
    }.items():
        monkeypatch.setenv(name, value)
    config = load(OperatorConfig, path)
    monkeypatch.setenv("OPERATORS", "http://a:1, b:2")
    verifier = load(VerifierConfig, written(tmp_path, "l2_rpc_url: http://x\nlayer2_chain_id: 1\nl2_chain_config: c"))
    assert verifier.operators == ["http://a:1", "http://b:2"]
    assert verifier.l2_rpc_url == ["http://x"]
    assert config.production
    assert not config.enable_metrics
    assert config.ecdsa_private_key_store_path == Path("e.json")
    assert config.operator_server_ip_port_addr == ListenAddress("127.0.0.1", 7000)
    assert config.aggregator_jsonrpc_server_ip_port_address == ["http://aggregator:8290"]
    assert str(config.node_api_ip_port_address) == "127.0.0.1:7002"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("quorum_nums: [1, 0]", "`quorum_nums`: must be ascending"),
        ("quorum_nums: []", "`quorum_nums`"),
        ("layer1_chain_id: -1", "`layer1_chain_id`"),
        ("layer1_chain_id: many", "`layer1_chain_id`"),
        ("eth_rpc_url: ftp://x", "`eth_rpc_url`: must be a URL that starts with http:// or https://"),
        ("aggregator_jsonrpc_server_ip_port_address: nowhere", "must be of the form host:port"),
        ("aggregator_jsonrpc_server_ip_port_address: localhost:99999", "must be of the form host:port"),
        ("signature_scheme: v3", "`signature_scheme`"),
        ("late_signature_window_s: -1", "`late_signature_window_s`"),
        ("aggregater: 1", "`aggregater` is not a known key"),
        ("avs_registry_coordinator_address: '0x12'", "must be a 20-byte address"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(tmp_path: Path, line: str, told: str) -> None:
    key = line.partition(":")[0]
    least = "".join(f"{entry}\n" for entry in LEAST.splitlines() if not entry.startswith(key))
    with pytest.raises(ConfigurationError) as caught:
        load(AggregatorConfig, written(tmp_path, f"{least}{line}\n"))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


ADDRESS = "'0x" + "11" * 20 + "'"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (f"l2_output_oracle: {ADDRESS}", "set eth_rpc_url"),
        (f"dispute_game_factory: {ADDRESS}", "set eth_rpc_url"),
        (f"early_alert_contract: {ADDRESS}", "set l2_output_oracle"),
        (
            f"eth_rpc_url: http://l1/secret\nl2_output_oracle: {ADDRESS}\nearly_alert_contract: {ADDRESS}",
            "set early_alert_ecdsa_keystore_path",
        ),
        ("oracle_confirmations: 0", "`oracle_confirmations`"),
    ],
)
def test_output_oracles_need_their_l1_and_early_alerts_their_key(tmp_path: Path, lines: str, told: str) -> None:
    least = "l2_rpc_url: http://x\nlayer2_chain_id: 1\nl2_chain_config: c\n"
    with pytest.raises(ConfigurationError) as caught:
        load(VerifierConfig, written(tmp_path, least + lines))
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_all_missing_keys_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`l2_rpc_url` is missing; .*`layer2_chain_id` is missing"):
        load(VerifierConfig, written(tmp_path, ""))


@pytest.mark.parametrize("text", ["a: [", "- a list", "\x00", "just text", "1: 2"])
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="settings.yaml"):
        load(VerifierConfig, written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load(VerifierConfig, tmp_path / "none.yaml")


def test_secrets_are_in_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "5f" * 32
    path = written(tmp_path, LEAST)
    config = load(AggregatorConfig, path, {"ecdsa_private_key": secret})
    assert config.ecdsa_private_key == SecretStr(secret)
    assert secret not in repr(config)
    assert secret not in str(config)
    monkeypatch.setenv("ECDSA_KEYSTORE_PASSWORD", secret)
    with pytest.raises(ConfigurationError) as caught:
        load(AggregatorConfig, written(tmp_path, LEAST + f"ecdsa_private_key: [{secret}]\n"))
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("l2_rpc_url: http://a, http://a", "`l2_rpc_url`: must not name the same one twice"),
        ("l2_rpc_url: []", "`l2_rpc_url`: Value should have at least 1 item"),
        ("l2_rpc_url: ws://a", "`l2_rpc_url.0`: must be a URL that starts with http"),
        ("l2_rpc_url: http://a\nl2_ws_url: http://a", "`l2_ws_url.0`: must be a URL that starts with ws"),
        ("l2_rpc_url: http://a\nwitness_sources: proofs, hearsay", "`witness_sources.1`: Input should be"),
        ("l2_rpc_url: http://a\nwitness_sources: files", "set witness_folder to the folder that holds them"),
    ],
)
def test_a_verifiers_nodes_and_sources_are_checked(tmp_path: Path, settings: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        load(VerifierConfig, written(tmp_path, f"layer2_chain_id: 1\nl2_chain_config: c\n{settings}"))
