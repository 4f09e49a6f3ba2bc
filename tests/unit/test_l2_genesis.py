"""The L2's genesis as the real op-geth gives it, the assembler behind its contracts, and where op-geth comes from."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from mach.devnet.assembler import AssemblyError, assemble, deployment
from mach.devnet.geth import GETH
from mach.devnet.l2_genesis import FUNDED_BALANCE_WEI, build_genesis, chain_config, write_genesis
from mach.devnet.node_builds import NodeBuild, NodeUnavailableError
from mach.devnet.op_geth import OP_GETH

PINNED = {
    "op-geth": f"'github.com/ethereum-optimism/op-geth {OP_GETH.version}'",
    "geth": f"'github.com/ethereum/go-ethereum {GETH.version}'",
}
"""What each node's go.mod must hold, for grep."""
L1_BLOCK = "4200000000000000000000000000000000000015"
HISTORY = "0000f90827f1c53a10cb7a02335b175320002935"
FUNDED = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


class TestGenesis:
    def test_every_fork_through_jovian_is_active_from_the_start(self) -> None:
        config = chain_config(4242)
        assert config["chainId"] == 4242
        assert {value for key, value in config.items() if key.endswith(("Block", "Time"))} == {0}
        assert {"cancunTime", "pragueTime", "holoceneTime", "isthmusTime", "jovianTime"} <= config.keys()
        assert "karstTime" not in config
        assert config["optimism"] == {
            "eip1559Elasticity": 6,
            "eip1559Denominator": 50,
            "eip1559DenominatorCanyon": 250,
        }

    def test_allocation(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        binary = OP_GETH.ensure()
        monkeypatch.setenv("MACH_CACHE", str(tmp_path))
        first, second = [build_genesis(binary, [FUNDED], timestamp=1_700_000_000) for _ in range(2)]
        assert first == second  # from op-geth, and from the cache
        assert len(list((tmp_path / "genesis").iterdir())) == 1
        accounts = first["alloc"]
        assert accounts[FUNDED[2:].lower()] == {"balance": hex(FUNDED_BALANCE_WEI)}
        assert len(accounts[HISTORY]["code"]) == 2 + 2 * 83  # EIP-2935's runtime code
        implementation = accounts[L1_BLOCK]["storage"][
            "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
        ]
        assert accounts[implementation[-40:]]["code"].startswith("0x5f3560e01c633db6be2b14")
        assert len(json.dumps(first)) < 2_000_000

    def test_files_are_whole_or_absent(self, tmp_path: Path) -> None:
        genesis = {"config": chain_config(), "alloc": {}}
        files = write_genesis(genesis, tmp_path / "l2", tmp_path)
        assert json.loads(files.genesis.read_text()) == genesis
        assert json.loads(files.chain_config.read_text()) == genesis["config"]
        assert files.chain_config.name == "l2-chain-config.json"
        assert not list(tmp_path.rglob("*.partial"))

    def test_a_binary_that_is_not_op_geth_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MACH_CACHE", str(tmp_path))
        with pytest.raises(NodeUnavailableError, match=r"/bin/true.*is /bin/true op-geth"):
            build_genesis(Path("/bin/true"), [], timestamp=0)


class TestAssembler:
    def test_instructions_and_operands(self) -> None:
        source = """
            PUSH 0 PUSH 1 PUSH 0xff PUSH 256 PUSH 0x0102030405 ; widths from none to five bytes
            start: ADD DUP16 SWAP1 LOG4 SELFDESTRUCT
            PUSH @start JUMP
        """
        assert assemble(source).hex() == "5f600160ff610100640102030405" + "5b018f90a4ff" + "61000e56"

    @pytest.mark.parametrize(
        ("source", "what"),
        [
            ("ADDD", "'ADDD'"),
            ("add", "'add'"),
            ("PUSH", "''"),
            ("PUSH x", "'x'"),
            ("PUSH -1", "'-1'"),
            (f"PUSH {1 << 256}", "2\\^256"),
            ("PUSH @nowhere", "'nowhere'"),
            ("a: a:", "'a'"),
        ],
    )
    def test_mistakes_are_named(self, source: str, what: str) -> None:
        with pytest.raises(AssemblyError, match=what):
            assemble(source)

    @pytest.mark.parametrize("length", [1, 255, 256, 5_000])
    def test_deployment_returns_the_runtime(self, length: int) -> None:
        """The copier is read back by hand: PUSH length, DUP1, PUSH1 offset, PUSH0, CODECOPY, PUSH0, RETURN."""
        runtime = os.urandom(length)
        code = deployment(runtime)
        width = code[0] - 0x5F
        assert int.from_bytes(code[1 : 1 + width], "big") == length
        assert code[1 + width : 3 + width] == b"\x80\x60"
        offset = code[3 + width]
        assert code[4 + width : offset] == bytes.fromhex("5f395ff3")
        assert code[offset:] == runtime


@pytest.mark.parametrize("node", [OP_GETH, GETH], ids=lambda node: node.name)
class TestNodeBuilds:
    """Which binary is taken, and what a build does. The Go command is a script here: a build takes minutes."""

    @pytest.fixture
    def go(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: NodeBuild) -> Path:
        """A `go` in front of the PATH that tells a version, counts its builds, and writes what it was to build."""
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / "go"
        script.write_text(
            "#!/bin/sh\n"
            f'[ "$1" = version ] && {{ cat {tmp_path}/version; exit 0; }}\n'
            "grep -q 'tool github.com/ethereum/go-ethereum/cmd/geth' go.mod && [ -s go.sum ] || exit 9\n"
            f"grep -q {PINNED[node.name]} go.mod || exit 9\n"
            f"echo build >> {tmp_path}/builds\n"
            f"[ -e {tmp_path}/broken ] && {{ echo no route to proxy >&2; exit 1; }}\n"
            'while [ "$1" != -o ]; do shift; done\n'
            'printf "#!/bin/sh\\n" > "$2"; chmod +x "$2"\n'
        )
        script.chmod(0o755)
        (tmp_path / "version").write_text("go version go1.26.8 linux/amd64\n")
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setenv("MACH_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv(node.override, raising=False)
        return tmp_path

    def test_two_builders_build_once(self, node: NodeBuild, go: Path) -> None:
        found: list[Path] = []
        builders = [threading.Thread(target=lambda: found.append(node.ensure())) for _ in range(4)]
        for builder in builders:
            builder.start()
        for builder in builders:
            builder.join()
        assert set(found) == {go / "cache" / "bin" / f"{node.name}-{node.version}"}
        assert (go / "builds").read_text() == "build\n"
        assert os.access(found[0], os.X_OK)

    def test_a_failed_build_leaves_nothing_and_says_why(self, node: NodeBuild, go: Path) -> None:
        (go / "broken").touch()
        with pytest.raises(NodeUnavailableError, match=rf"ended with 1: no route to proxy.*{node.override}"):
            node.ensure()
        assert [entry.name for entry in (go / "cache" / "bin").iterdir() if not entry.name.endswith(".lock")] == []

    def test_a_go_that_is_too_old_is_refused(self, node: NodeBuild, go: Path) -> None:
        (go / "version").write_text("go version go1.19.8 linux/amd64\n")
        with pytest.raises(NodeUnavailableError, match=r"needs Go 1\.24 or newer.*go1\.19\.8"):
            node.ensure()
        assert not (go / "builds").exists()

    def test_no_go_at_all(
        self, node: NodeBuild, go: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("PATH", str(go))
        assert node.main() == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        assert "no `go` is on PATH" in told.err

    def test_an_override_is_taken_or_refused(self, node: NodeBuild, go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(node.override, str(go / "bin" / "go"))
        assert node.ensure() == go / "bin" / "go"
        monkeypatch.setenv(node.override, str(go / "version"))
        with pytest.raises(NodeUnavailableError, match=f"{node.override}.*no executable file"):
            node.ensure()

    def test_a_cache_that_cannot_be_written_is_named(
        self, node: NodeBuild, go: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MACH_CACHE", str(go / "version"))
        with pytest.raises(NodeUnavailableError, match="MACH_CACHE"):
            node.ensure()
