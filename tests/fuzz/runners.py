"""Shell. One runner a parser: its invariant in words, the inputs to start from, the words it looks for.

A check returns if the invariant holds, and raises otherwise, whatever it raises. It is deterministic: what it
needs of luck is drawn from a Random seeded by the input, so that an input alone shows its crash again.
"""

import zlib
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from meshtrio.address import Address
from meshtrio.catalog.document import CatalogFaults, read_services
from meshtrio.catalog.kubernetes import Reducer
from meshtrio.catalog.kubernetes_objects import KINDS, Kind, PoisonError, decode
from meshtrio.config.load import ConfigFaults, dump, load
from meshtrio.detect.detector import DETECT_BYTES, Detector
from tests.fuzz import queries
from tests.fuzz.mutation import cuts


class Runner(NamedTuple):
    """A parser under fire."""

    name: str
    invariant: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    per_byte_s: float
    """Time may grow linearly with the input, at this rate: ten times what it takes on a slow machine."""


def check_detect(data: bytes) -> None:
    whole = Detector()
    answer = whole.feed(data)
    assert answer is not None or len(data) < DETECT_BYTES, "no answer after DETECT_BYTES"
    assert whole.feed(b"GET / HTTP/1.1\r\n") == answer or answer is None, "an answer changed"
    pieces = Detector()
    for piece in cuts(data, Random(zlib.crc32(data))):
        told = pieces.feed(piece)
        if told is not None:
            assert told == answer, f"cut in pieces it is {told}, whole {answer}"
    assert pieces.feed(b"") == answer, "the cut changed whether there is an answer"
    ended = Detector()
    ended.feed(data)
    assert ended.eof() == (answer or ended.eof()), "the end changed an answer"


def check_address(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert len(address.ip) == 16
    assert 0 <= address.port <= 65535
    assert Address.parse(str(address)) == address, "what it writes it reads as another"
    assert Address.unpack(address.pack()) == address


def check_config(data: bytes) -> None:
    try:
        config = load(data.decode("utf-8", "surrogateescape"), {}, {})
    except ConfigFaults as refused:
        assert refused.faults, "refused without a reason"
        assert all(fault.says for fault in refused.faults)
        assert str(refused)
        return
    assert load(dump(config), {}, {}) == config, "what it writes it reads as another"


def check_environment(data: bytes) -> None:
    name, _, value = data.decode("utf-8", "surrogateescape").partition("=")
    try:
        config = load(None, {name: value}, {})
    except ConfigFaults as refused:
        assert all(name in str(fault) or fault.path for fault in refused.faults), (
            "does not say which variable"
        )
        return
    assert load(dump(config), {}, {}) == config


def check_catalog(data: bytes) -> None:
    try:
        services = read_services(data.decode("utf-8", "surrogateescape"))
    except CatalogFaults as refused:
        assert refused.faults, "refused without a reason"
        assert str(refused)
        return
    keys = [service.key for service in services]
    assert len(set(keys)) == len(keys), "two services of one name"
    for service in services:
        assert service.ports, "a service without a port"
        assert all(len(vip) == 16 for vip in service.vips)
        for endpoint in service.endpoints:
            assert len(endpoint.address.ip) == 16
            assert 0 < endpoint.address.port <= 65535, "an endpoint at no port"


def check_kubernetes(data: bytes) -> None:
    reducer = Reducer()
    reducer.put(decode(Kind.SERVICE, KUBERNETES_SEEDS[0]))
    for kind in KINDS:
        try:
            one = decode(kind, data)
        except PoisonError as poison:
            assert 0 < len(poison.why) <= 200, "refused without a reason, or with too many words"
            assert len(poison.name) <= 507, "too long a name"
            continue
        assert one.name
        assert "/" not in one.name + one.namespace
        reducer.put(one)
        assert reducer.put(one) == set() or not one.version, "a repetition is news"
    for key in sorted(reducer.keys()):
        service = reducer.service(key)
        assert service is not None
        assert service.key == key
        assert all(len(vip) == 16 for vip in service.vips)
        for port in service.ports:
            assert len({one.id for one in port.endpoints}) == len(port.endpoints), "an id twice"
            assert all(len(one.address.ip) == 16 and 0 < one.address.port < 65536 for one in port.endpoints)


def _hello(extensions: bytes) -> bytes:
    """A TLS ClientHello with these extensions, as RFC 8446 section 4.1.2 has it."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    shake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(shake).to_bytes(2, "big") + shake


SNI = b"\x00\x00\x00\x10\x00\x0e\x00\x00\x0bshop.mesh.x"
ALPN = b"\x00\x10\x00\x0e\x00\x0c\x02h2\x08http/1.1"

CONFIG_SEEDS = (
    b"",
    b"node: shop\nworkers: 2\nports: {inbound: 15001, outbound: 15002}\nlog: {level: debug}\n",
    b"exclude:\n  outbound_cidrs: [10.0.0.0/8, 'fd::/8']\n  inbound_ports: [22, 80]\nadmin:\n  bind: '::1'\n",
    b"workloads:\n- name: shop\n  cgroup: /sys/fs/cgroup/shop\n  ports: [80]\n  on_agent_loss: closed\n",
    b"timeouts: {connect_s: 5, drain_s: 0.5, idle_s: 0}\nkeepalive: {after_s: 10}\n",
)
CONFIG_WORDS = tuple(
    b"node: |workers: auto|rung: nft|passthrough: deny|ports:|paths:|limits:|timeouts:|- name: x|: |\n  |\n- "
    b"|[|]|{|}|&a |*a|!!python/object:os.system |!!int |%YAML 1.1\n|---\n|...\n|? |<<: |.nan|.inf|-.inf|0x1f"
    b"|1e999|null|~|true|yes|'|\"|#|\t|99999999999999999999|-1|''|/sys/fs/bpf/|10.0.0.0/33|::/0|\xe2\x80\xa8".split(
        b"|"
    )
)
CATALOG_SEEDS = (
    b"services:\n- name: web\n  vips: [10.96.0.10, 'fd00::10']\n  ports: [{port: 80}]\n"
    b"  endpoints: ['10.0.0.1:8080', '[fd00::1]:8080']\n",
    b"services:\n- name: db\n  namespace: shop\n  ports: [{name: a, port: 1}, {name: b, port: 2}]\n"
    b"  endpoints: [{ip: 10.0.0.1, ports: {a: 8001, b: 8002}, weight: 3, zone: z, draining: true}]\n",
)

_META = b'{"metadata":{"name":"web","namespace":"shop","uid":"u","resourceVersion":"7","labels":{"kubernetes.'
_META += b'io/service-name":"web","meshtrio.io/mesh":"enabled"},"annotations":{"meshtrio.io/weight":"3"}},'
KUBERNETES_SEEDS = tuple(
    _META + rest
    for rest in (
        b'"spec":{"clusterIPs":["10.96.0.1","fd00::1"],"ports":[{"name":"http","port":80,"protocol":"TCP"}]}}',
        b'"spec":{"type":"ExternalName","externalName":"db.example.com"}}',
        b'"addressType":"IPv4","ports":[{"name":"http","port":8080}],"endpoints":[{"addresses":["10.0.0.1"],'
        b'"conditions":{"ready":true,"terminating":false},"zone":"z","nodeName":"n","targetRef":{"kind":"Pod",'
        b'"name":"web","uid":"u"}},{"addresses":["10.0.0.2"],"conditions":null}]}',
        b'"subsets":[{"addresses":[{"ip":"10.0.0.1"}],"notReadyAddresses":[{"ip":"10.0.0.2"}],'
        b'"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}]}',
        b'"spec":{"serviceAccountName":"web","nodeName":"n"}}',
    )
)

RUNNERS = (
    Runner(
        "detect",
        "Any bytes, however cut: one answer that never changes, or more wanted, and never after 4 KiB;"
        " no exception; linear time.",
        check_detect,
        (
            b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
            _hello(SNI + ALPN),
            _hello(ALPN),
            _hello(SNI + b"\x00\x2b\x00\x03\x02\x03\x04" + b"\x00\x15\x01\x00" + bytes(256)),
            b"EHLO there\r\n",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b"",
        ),
        (
            b"GET ",
            b"OPTIONS ",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\n",
            b"PRI * HTTP/2.0\r\n",
            b"\x16\x03\x01",
            SNI,
            ALPN,
        ),
        2e-5,
    ),
    Runner(
        "address",
        "Any text: an Address that it reads back from what it writes, or ValueError.",
        check_address,
        (b"10.0.0.1:80", b"[::1]:80", b"[::ffff:10.0.0.1]:65535", b"[fe80::1%eth0]:1", b"0.0.0.0:0"),
        (
            b"[",
            b"]",
            b"::",
            b"ffff:",
            b"%25",
            b"0x",
            b"127.1",
            b"65536",
            "\u0661".encode(),
            b"+1",
            b"1_0",
            b"00",
        ),
        2e-5,
    ),
    Runner(
        "config",
        "Any text: a Config that it reads back from what `dump` writes, or ConfigFaults with a reason each;"
        " nothing else, and in linear time.",
        check_config,
        CONFIG_SEEDS,
        CONFIG_WORDS,
        2e-4,
    ),
    Runner(
        "environment",
        "Any variable: a Config, or ConfigFaults that name what is wrong.",
        check_environment,
        (
            b"MESHTRIO_NODE=shop",
            b"MESHTRIO_TIMEOUTS__DRAIN_S=3",
            b"MESHTRIO_EXCLUDE__INBOUND_PORTS=22,80",
            b"HOME=/",
        ),
        (b"MESHTRIO_", b"__", b"LIMITS__", b"PENDING", b"=", b",", b"auto", b"1e3", b"WORKLOADS", b"nan"),
        2e-4,
    ),
    Runner(
        "catalog",
        "Any text: services with a name each and endpoints that can be dialled, or CatalogFaults;"
        " nothing else, and in linear time.",
        check_catalog,
        CATALOG_SEEDS,
        (
            *CONFIG_WORDS,
            b"services:\n",
            b"endpoints: ",
            b"vips: ",
            b"port: 0",
            b"weight: ",
            b"ip: ",
            b"address: ",
        ),
        2e-4,
    ),
    Runner(
        "query",
        queries.QUERY_INVARIANT,
        queries.check_query,
        queries.QUERY_SEEDS,
        queries.QUERY_WORDS,
        2e-4,
    ),
    Runner(
        "reply",
        queries.REPLY_INVARIANT,
        queries.check_reply,
        queries.REPLY_SEEDS,
        queries.QUERY_WORDS,
        2e-4,
    ),
    Runner(
        "kubernetes",
        "Any bytes, as any kind: an object with a name, whose service has one endpoint for each id, or"
        " PoisonError that says why; nothing else, and in linear time.",
        check_kubernetes,
        KUBERNETES_SEEDS,
        (
            *b'null {} [] "" : , -1 1e9 65536 0.5 \\ud800 \\u0000 "None" "FQDN" "IPv6" "::1"'.split(),
            b'"010.0.0.1"',
            b'"targetRef":{"name":"web"}',
            b'"metadata":{}',
            b"[[[[[[[[",
            b'{"a":{"a":{"a":',
        ),
        1e-4,
    ),
)
