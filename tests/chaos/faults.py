"""Every fault that a run can do, by the name it has in the schedule."""

from collections.abc import Mapping
from typing import Final

from tests.chaos import line_faults, outside_faults, process_faults, record_faults
from tests.chaos.ground import Injection

INJECTIONS: Final[Mapping[str, Injection]] = {
    **process_faults.FAULTS,
    **line_faults.FAULTS,
    **record_faults.FAULTS,
    **outside_faults.FAULTS,
}
