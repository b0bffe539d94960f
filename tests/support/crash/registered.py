"""What a service does, as it is registered: topics heard, duties of the clock, workers, changing requests."""

import inspect
from collections.abc import Iterator

from fastapi.routing import iter_route_contexts

from services.chassis.app import Service
from services.chassis.housekeeping import HOUSEKEEPING


def everything(service: Service) -> set[str]:
    """A name for each: the topic, the duty's or worker's function, or "POST /v1/checkouts"."""
    topics = service.consumer.subscriptions if service.consumer else ()
    duties = {one.name for one in (*service.reconcilers, *HOUSEKEEPING)}
    workers = {one.__name__ for one in service.workers}
    return {*topics, *duties, *workers, *_requests(service)}


def _requests(service: Service) -> Iterator[str]:
    """Requests that change something: all but GET, and the GET that calls an action."""
    for route in iter_route_contexts(service.router.routes):
        for method in getattr(route, "methods", None) or ():
            if method != "GET" or "actions." in inspect.getsource(route.endpoint):
                yield f"{method} {route.path}"
