"""Shell. A `meshtrio ca` on loopback in this process, its nodes, and callers who write their own requests."""

import base64
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from cryptography.hazmat.primitives.asymmetric import ec

from meshtrio.ca import process
from meshtrio.ca.app import Terms
from meshtrio.ca.ledger import Ledger
from meshtrio.ca.process import Wish
from meshtrio.config.identity import Identity, RemoteCa
from meshtrio.config.schema import Config
from meshtrio.identity.bundle import Bundle
from meshtrio.identity.request import make_request
from meshtrio.identity.spiffe import SpiffeId, parse
from meshtrio.issuers.issuer import Issued, Wanted
from meshtrio.issuers.remote import Remote

CART = parse("spiffe://td/ns/shop/sa/cart")
SHOP = ("spiffe://td/ns/shop/*",)


def ask_for(spiffe_id: SpiffeId | str, node: str = "web-1", **words: object) -> dict[str, object]:
    """Write what an honest agent would send, with a key of its own."""
    wanted = parse(spiffe_id) if isinstance(spiffe_id, str) else spiffe_id
    csr = make_request(ec.generate_private_key(ec.SECP256R1()), wanted)
    made = {"spiffe_id": str(wanted), "node": node, "csr": base64.b64encode(csr).decode()}
    return made | words


def node_id(node: str) -> SpiffeId:
    return SpiffeId("td", f"/meshtrio/node/{node}")


class Agent:
    """A node: its issuer, and what it has told."""

    def __init__(self, settings: Identity, name: str) -> None:
        self.settings = settings
        self.told: list[Bundle | Issued] = []
        self.ahead_s = 0.0
        self.issuer = Remote(lambda: self.settings, name, lambda: time.time() + self.ahead_s)

    async def get(self, spiffe_id: SpiffeId = CART) -> Issued:
        with trio.fail_after(20):
            return await self.issuer.issue(Wanted(spiffe_id, spiffe_id.path.rpartition("/")[2], 3600.0))


class World:
    """One CA, at the same port each time that it runs."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.port = 0
        self.config = Config(identity=Identity(trust_domain="td", directory=str(folder / "ca"), **settings))
        self.agents: tuple[str, ...] = ()
        self.terms = Terms()

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def root(self) -> Path:
        return self.folder / "ca" / "root.pem"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        wish = Wish("127.0.0.1", self.port, agents=self.agents, terms=self.terms)
        async with trio.open_nursery() as nursery:
            self.port = await nursery.start(process.run, self.config, wish)
            yield
            nursery.cancel_scope.cancel()

    def token(self, node: str = "web-1", allow: tuple[str, ...] = SHOP, life_s: float = 60.0) -> str:
        ledger = Ledger(self.folder / "ca" / process.LEDGER)
        try:
            return ledger.new_token(node, allow, time.time(), life_s)
        finally:
            ledger.close()

    def forget(self, node: str) -> None:
        ledger = Ledger(self.folder / "ca" / process.LEDGER)
        try:
            assert ledger.forget(node)
        finally:
            ledger.close()

    def agent(self, name: str = "web-1", token: str | None = None, directory: str = "own") -> Agent:
        """Set a node up, with a token in a file unless there is none."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        if token is not None:
            (home / "token").write_text(f"{token}\n")
        remote = RemoteCa(self.address, str(self.root), str(home / "token"))
        where = str(home) if directory == "own" else directory
        return Agent(Identity(source="remote", trust_domain="td", directory=where, remote=remote), name)

    def client(self, cert: Path | None = None) -> httpx.AsyncClient:
        """Make a client as a stranger would: another HTTP library than ours."""
        tls = ssl.create_default_context(cafile=str(self.root))
        if cert is not None:
            tls.load_cert_chain(cert)
        return httpx.AsyncClient(verify=tls, timeout=20, trust_env=False, base_url=self.address)

    async def post(self, body: object, token: str = "", cert: Path | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.client(cert) as client:
            return await client.post("/v1/sign", json=body, headers=headers)

    async def ask(self, method: str, path: str, **words: Any) -> httpx.Response:
        async with self.client() as client:
            return await client.request(method, path, **words)
