"""Core. Ports of a service with names of their own, and endpoints of a port with ids of their own. Does not
know who says it: what a sound registry gives comes back as it is.
"""

import msgspec

from meshtrio.catalog.service import Endpoint, ServicePort


def ports(given: tuple[ServicePort, ...]) -> tuple[ServicePort, ...]:
    """Give each port a name of its own: the second of a name gets its number behind it.

    Of two with one name and one number the first counts. Else callers of one port would reach the other.
    """
    if len({port.name for port in given}) == len(given):
        return given
    named: dict[str, ServicePort] = {}
    for port in given:
        name = port.name
        while name in named and named[name].port != port.port:
            name = f"{name}-{port.port}".lstrip("-")
        named.setdefault(name, msgspec.structs.replace(port, name=name))
    return tuple(named.values())


def endpoints(given: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Give each endpoint an id of its own: the second of an id gets its address behind it.

    Of two with one id and one address the first counts.
    """
    if len({endpoint.id for endpoint in given}) == len(given):
        return given
    apart: dict[str, Endpoint] = {}
    for one in given:
        id_ = one.id
        while id_ in apart and apart[id_].address != one.address:
            id_ = f"{id_}@{one.address}"
        apart.setdefault(id_, msgspec.structs.replace(one, id=id_))
    return tuple(apart.values())
