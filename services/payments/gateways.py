"""The gateways of this process: adapters and the settings they came from, made before anything is heard."""

from contracts.event import Provider
from services.payments.providers import Adapter
from services.payments.providers.esewa import Esewa
from services.payments.settings import PaymentsSettings


class Gateways:
    """What can be paid with. A handler gets nothing but a transaction, so the process has one of these."""

    def __init__(self, settings: PaymentsSettings) -> None:
        self.settings = settings
        self.plan = settings.plan
        esewa = Esewa(settings)
        self.adapters: dict[Provider, Adapter] = {esewa.provider: esewa}

    async def close(self) -> None:
        """Give every connection back."""
        for adapter in self.adapters.values():
            await adapter.close()


_in_use: list[Gateways] = []


def use(settings: PaymentsSettings) -> Gateways:
    """Make the gateways of this process."""
    _in_use[:] = [Gateways(settings)]
    return _in_use[0]


def in_use() -> Gateways:
    """The gateways of this process; it is our own mistake to ask before `use`."""
    assert _in_use, "no gateways: the service was not built"
    return _in_use[0]
