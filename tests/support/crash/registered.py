"""What a service does, as it is registered: topics heard, duties of the clock, workers, changing requests."""

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Final

from fastapi.routing import iter_route_contexts

from services.chassis.app import Service
from services.chassis.housekeeping import HOUSEKEEPING
from services.chassis.reconciler import Reconciler

BY_HAND: Final = "/internal/operator/"
"""What a person does with a reason, and sees the outcome of: no machine ever repeats it."""


def everything(service: Service) -> set[str]:
    """A name for each: the topic, the duty's or worker's function, or "POST /v1/checkouts"."""
    topics = service.consumer.subscriptions if service.consumer else ()
    duties = {one.name for one in (*service.reconcilers, *HOUSEKEEPING)}
    workers = {one.__name__ for one in service.workers}
    return {*topics, *duties, *workers, *_requests(service)}


def _requests(service: Service) -> Iterator[str]:
    """Requests that change something: all but GET, and the GET that calls an action."""
    for route in iter_route_contexts(service.router.routes):
        endpoint, path = route.endpoint, route.path
        if endpoint is None or path is None or path.startswith(BY_HAND):
            continue
        for method in getattr(route, "methods", None) or ():
            if method != "GET" or "actions." in inspect.getsource(endpoint):
                yield f"{method} {path}"


def alarms(reconcilers: ModuleType) -> list[str]:
    """The duties of a service that only call somebody: they are all tried alike."""
    duties = [one for one in vars(reconcilers).values() if isinstance(one, Reconciler)]
    return [one.name for one in duties if one.name.startswith("alarm_")]
