"""The operator's JSON-RPC methods, named and shaped as the original's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mach.operator.requests import READERS, read_alert, sole_object, statement
from mach.transport.jsonrpc import RpcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mach.operator.signer import AlertSigner

NO_TRANSACTION: Final = "0x" + "00" * 32
FINISHED_CODE: Final = 2


class OperatorMethods:
    """The three alerts, `health_check` and `operator_getConfig`."""

    def __init__(
        self,
        signer: AlertSigner,
        *,
        avs_name: str,
        submit_deadline_s: float,
        public_settings: Mapping[str, Any],
    ) -> None:
        self._signer = signer
        self._avs_name = avs_name
        self._submit_deadline_s = submit_deadline_s
        self._public_settings = dict(public_settings)

    def table(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        alerts = {name: self._alert_method(name) for name in READERS}
        return {**alerts, "health_check": self.health_check, "operator_getConfig": self.get_config}

    def _alert_method(self, method: str) -> Callable[[Any], Awaitable[Any]]:
        async def raise_alert(params: Any) -> dict[str, Any]:
            alert = read_alert(method, params, self._avs_name)
            message_hash = alert.message_hash()
            record = await self._signer.submit(message_hash, statement(method, alert), self._submit_deadline_s)
            alert_hash = "0x" + message_hash.hex()
            if record.state == "finished":
                transaction = "0x" + record.tx_hash.hex() if record.tx_hash else NO_TRANSACTION
                raise RpcError(FINISHED_CODE, f"the task {alert_hash} already finished: {transaction}")
            if record.state == "unconfirmed":
                return {
                    "task_index": None,
                    "tx_hash": NO_TRANSACTION,
                    "alert_hash": alert_hash,
                    "status": "unconfirmed",
                    "reason": record.reason,
                }
            queued = record.state != "submitted"
            answer = {
                # null reads as 0 in the original's Go clients; `status` tells the difference
                "task_index": None if queued else record.task_index,
                "tx_hash": NO_TRANSACTION,
                "alert_hash": alert_hash,
                "status": "queued" if queued else "submitted",
                "basis": record.basis,
            }
            if queued and record.reason:
                answer["reason"] = record.reason
            return answer

        return raise_alert

    async def health_check(self, params: Any) -> bool:
        """A verifier's sign of life: the newest block it verified."""
        sole_object(params)
        return True

    async def get_config(self, _params: Any) -> dict[str, Any]:
        """The settings of this operator that anyone may know."""
        return self._public_settings
