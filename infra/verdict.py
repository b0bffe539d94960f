"""How a demo or a replay ends: the audit of the system it ran on, said promise by promise."""

from rich.console import Console

from infra.audit import audit
from infra.audit.report import show
from infra.installation import Installation


async def audited(system: Installation, console: Console) -> bool:
    """Whether every promise of the system was kept."""
    addresses = system.addresses
    report = await audit(
        databases=system.databases, kafka=addresses["kafka"], truth_url=addresses["esewa-control"]
    )
    show(report, console)
    return report.ok
