"""How a demo or a replay ends: the audit of the stack it ran on, said promise by promise."""

from rich.console import Console

from infra.audit import audit
from infra.audit.report import show
from infra.stack import Stack


async def audited(stack: Stack, console: Console) -> bool:
    """Whether every promise of the system was kept."""
    addresses = stack.addresses
    report = await audit(
        databases=stack.databases, kafka=addresses["kafka"], truth_url=addresses["esewa-control"]
    )
    show(report, console)
    return report.ok
