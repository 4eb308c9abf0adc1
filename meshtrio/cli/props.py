"""Core. The files on the demo's stage, as text: of a web server, of the catalog, of the agent.

Does not know where they are put, nor who reads them.
"""

from collections.abc import Mapping, Sequence

VIP4, VIP6 = "10.96.0.10", "fd00:96::10"
WEB = "default/web"
"""Has these virtual addresses, and every server behind it."""
SHOP = "default/shop"
"""Brings no address of its own, so it is dialled by name. Its endpoints are probed."""
ORDERS = "default/orders"
"""Stands in no file: its endpoints register themselves."""
KITCHEN = "kitchen"
"""The namespace of the workloads left and right of the wire. There nothing goes without mutual TLS."""
PANTRY, PANTRY_VIP, PANTRY_PORT = "pantry", "10.96.0.20", 80
"""The server right of the wire: a workload itself, who proves who it is."""
COOK, GUEST = "cook", "guest"
"""Who calls it; and who may not."""
NO_GUESTS = "no-guests"
"""The rule that says so."""
SECRET = "the-truffles-are-behind-the-rice"
"""What caller and called say to each other, and nobody on the wire may read."""
HEALTH = "health"
"""What a server that is well has to show."""
CHECK_S = 0.2

_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen {address}; root {folder}; default_type text/plain; }}
}}
"""

_CATALOG = """services:
- name: web
  vips: [{vips}]
  ports: [{{port: 80, name: http}}]
  endpoints: [{web}]
- name: shop
  ports: [{{port: 80, name: http}}]
  endpoints: [{shop}]
- name: pantry
  namespace: {kitchen}
  vips: [{pantry_vip}]
  ports: [{{port: {pantry_port}, name: http}}]
  endpoints: [{{address: "{pantry}", identity: "{pantry_id}"}}]
"""

_CONFIGURATION = """rung: {rung}
workers: 1
catalog: {{file: {folder}/catalog.yaml}}
discovery: {{registration: {{state: {folder}/state.db}}}}
identity: {{directory: {folder}/identity, exec_identities: ["{everyone}"]}}
mtls: {{rules: [{{mode: strict, namespace: {kitchen}}}]}}
policy:
  rules:
  - {{name: {no_guests}, action: deny, namespaces: [{kitchen}], callers: {{ids: ["{guest}"]}}}}
health_checks:
- {{service: {shop}, type: http, path: /{health}, interval_s: {check_s}, timeout_s: 1, rise: 2, fall: 2}}
paths: {{control: {folder}/control.sock, pins: {pins}}}
ports: {{{ports}}}
timeouts: {{drain_s: 5}}
log: {{format: text}}
"""


def nginx(folder: str, address: str) -> str:
    """Write the configuration of an nginx that serves this folder, and touches nothing outside it."""
    return _NGINX.format(folder=folder, address=address)


def catalog(web: Sequence[str], shop: Sequence[str], pantry: str, *, ipv6: bool) -> str:
    """Write the catalog: services with these endpoints, and who the last one is."""
    return _CATALOG.format(
        vips=f'{VIP4}, "{VIP6}"' if ipv6 else VIP4,
        web=_listed(web),
        shop=_listed(shop),
        kitchen=KITCHEN,
        pantry=pantry,
        pantry_vip=PANTRY_VIP,
        pantry_port=PANTRY_PORT,
        pantry_id=identity(PANTRY),
    )


def configuration(folder: str, rung: str, pins: str, ports: Mapping[str, int]) -> str:
    """Write the configuration of an agent that keeps everything in this folder, but for its pins."""
    return _CONFIGURATION.format(
        folder=folder,
        rung=rung,
        pins=pins,
        ports=", ".join(f"{name}: {port}" for name, port in ports.items()),
        shop=SHOP,
        health=HEALTH,
        check_s=CHECK_S,
        everyone=identity("*"),
        kitchen=KITCHEN,
        no_guests=NO_GUESTS,
        guest=identity(GUEST),
    )


def identity(account: str) -> str:
    """Return the SPIFFE ID of an account in the kitchen."""
    return f"spiffe://cluster.local/ns/{KITCHEN}/sa/{account}"


def _listed(addresses: Sequence[str]) -> str:
    return ", ".join(f'"{address}"' for address in addresses)
