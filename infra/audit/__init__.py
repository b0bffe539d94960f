"""The audit: every promise of the system as a query that can fail, over all databases and all topics.

It shares no code with the services and no types with the contracts: what is wrong there shall not be wrong
here in the same way. It reads only.
"""

from infra.audit.command import audit, audit_command
from infra.audit.report import Report

__all__ = ["Report", "audit", "audit_command"]
