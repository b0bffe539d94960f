"""Who makes something happen."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from uuid import UUID

ActorType: TypeAlias = Literal["customer", "vendor", "admin", "system"]


@dataclass(frozen=True, slots=True)
class Actor:
    """A person in a role, or the system itself; `vendor_id` only for vendors."""

    type: ActorType = "system"
    id: UUID | None = None
    vendor_id: UUID | None = None


SYSTEM: Final = Actor()
