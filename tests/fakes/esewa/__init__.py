"""A stand-in for eSewa ePay v2 on real ports, which owns the truth about money.

Shares no code with the services: what both know about eSewa, each learned from the published vectors.
Faces:  gateway.py (what the merchant and the payer see), control.py (`/_sim`: faults, truth, clock)
Run:    python -m tests.fakes.esewa --port P --control-port P2 --state FILE
Test:   async with running_simulator() as simulator: ...
Assumed, hence switchable in Profile: the answer to a wrong amount, the session's length, strict uuids.
"""

from tests.fakes.esewa.client import Logged, Payment, PayResult, RefusedError, Simulator
from tests.fakes.esewa.server import running_simulator
from tests.fakes.esewa.world import Profile

__all__ = ["Logged", "PayResult", "Payment", "Profile", "RefusedError", "Simulator", "running_simulator"]
