"""Sentinels, a cluster and TLS: real ones, of this machine's own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.redis_support import PATIENCE, Awaited, RedisServer, free_port
from tests.stores import test_store_contract as contract
from tests.stores.store_actors import DAY, ISSUER, NOW, key_of, session

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.edges.stores.redis import lease, pipes
from kmsi_middleware.vocabulary.effects import SessionStore, slot_of
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.session import Mark, Session, user_key

ADA = user_key(ISSUER, "ada")
CONTRACT = [
    (name, value)
    for name, value in vars(contract).items()
    if name.startswith("test_") and value.__code__.co_varnames[: value.__code__.co_argcount] == ("store",)
]
QUICK = ("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
Opened = Callable[[str], Any]


@pytest.fixture
def open_as() -> Iterator[Callable[[str, str], Any]]:
    """Opens stores as threads see them, or as asyncio does."""
    made: list[Any] = []

    def open_(face: str, text: str) -> Any:
        made.append(open_store(text) if face == "threads" else Awaited(text))
        return made[-1]

    yield open_
    for store in made:
        store.end_loop() if isinstance(store, Awaited) else store.close()


@pytest.fixture
def leased() -> Iterator[Callable[[str], Any]]:
    """Opens stores with a lag of 400 ms."""
    with ExitStack() as stores:

        def open_(text: str) -> Any:
            store = open_store(text, revocation_lag=400)
            stores.callback(store.close)
            return store

        yield open_


@pytest.fixture(params=["threads", "asyncio"])
def opened(request: pytest.FixtureRequest, open_as: Any) -> Opened:
    return partial(open_as, request.param)


@pytest.fixture
def both(open_as: Any) -> Callable[[str], list[Any]]:
    """Opens both faces at the same time, where what happens takes long."""
    return lambda text: [open_as("threads", text), open_as("asyncio", text)]


def until(true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait for something to become true; answers what it became."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(redis.RedisError, StoreUnavailable):
            if found := true():
                return found
        assert time.monotonic() < deadline
        time.sleep(0.02)


# A cluster -----------------------------------------------------------------------------------------------------


class Cluster:
    """Three primaries with a third of the slots each, and ``spare`` servers without any."""

    def __init__(self, folder: Path, *, spare: int = 0) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *QUICK)
        self.servers = [RedisServer(folder / str(number), *options).start() for number in range(3 + spare)]
        first, *rest = self.servers
        begin = 0
        for number, server in enumerate(self.servers[:3], 1):
            end = 16_384 * number // 3
            with server.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number)
            begin = end
        with first.client() as client:
            for server in rest:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", server.port)
        for server in self.servers:
            with server.client() as client:
                until(lambda client=client: self._is_well(client))  # type: ignore[misc]

    def _is_well(self, client: redis.Redis) -> bool:
        info = client.execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(len(self.servers))

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.servers[0].port},127.0.0.1:{self.servers[1].port}"

    def id_of(self, server: RedisServer) -> str:
        with server.client() as client:
            return client.execute_command("CLUSTER", "MYID").decode()

    def flush(self) -> None:
        for server in self.servers:
            with server.client() as client:
                client.flushall()

    def stop(self) -> None:
        for server in self.servers:
            server.kill()


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """Three servers that no test stops, empty."""
    shared_cluster.flush()
    return shared_cluster


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, spare=1)
    yield made
    made.stop()


@pytest.mark.parametrize("test", [value for _, value in CONTRACT], ids=[name for name, _ in CONTRACT])
def test_the_contract_holds_in_a_cluster(
    cluster: Cluster, opened: Opened, test: Callable[[SessionStore], None]
) -> None:
    test(opened(f"{cluster.url}?prefix=test:"))


def test_a_cluster_spreads_sessions_over_all_its_servers(cluster: Cluster, opened: Opened) -> None:
    store = opened(cluster.url)
    for number in range(60):
        store.create(session(number), NOW)
    for server in cluster.servers:
        with server.client() as client:
            assert client.dbsize() > 5
    assert store.end_many([key_of(number) for number in range(60)], "revoked", NOW) == 60


def slot_moves(cluster: Cluster, slot: int, source: RedisServer, target: RedisServer) -> Iterator[str]:
    """Move a slot with its keys, as an operator does; yields between the steps."""
    source_id, target_id = cluster.id_of(source), cluster.id_of(target)
    with source.client() as at_source, target.client() as at_target:
        at_target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        at_source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        yield "announced"
        keys = at_source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        for key in keys:
            at_source.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        yield "moved"
        at_target.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        at_source.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        yield "settled"


def test_while_slots_move_everything_goes_on(own_cluster: Cluster, opened: Opened) -> None:
    store = opened(own_cluster.url)
    made = session(expires_at=int(NOW) + 9 * DAY)
    store.create(made, NOW)
    store.load(made.key, NOW)
    with own_cluster.servers[0].client() as client:
        slot = client.execute_command("CLUSTER", "KEYSLOT", store.operations.key_of(made.key))
    source = next(server for server in own_cluster.servers if _has(server, store.operations.key_of(made.key)))
    version = made.version
    for step in slot_moves(own_cluster, slot, source, own_cluster.servers[3]):
        assert store.load(made.key, NOW).version == version, step
        assert store.version(made.key) == version
        version += 1
        store.save(session(version=version, expires_at=made.expires_at), NOW)
        assert [each.version for each in store.find_user(ADA, NOW)] == [version]
    assert store.end(made.key, "revoked", NOW) is True
    assert _has(own_cluster.servers[3], store.operations.key_of(made.key))


def _has(server: RedisServer, key: bytes) -> bool:
    with server.client() as client, suppress(redis.ResponseError):  # MOVED
        return bool(client.exists(key))
    return False


def test_a_primary_that_dies_is_succeeded_by_its_replica(
    own_cluster: Cluster, both: Callable[[str], list[Any]]
) -> None:
    *_, dying, spare = own_cluster.servers
    with spare.client() as client:
        client.execute_command("CLUSTER", "REPLICATE", own_cluster.id_of(dying))
        until(lambda: client.info("replication").get("master_link_status") == "up")
    stores = both(own_cluster.url)
    for number in range(30):
        stores[number % 2].create(session(number), NOW)
    with dying.client() as client:
        assert client.wait(1, 5000) == 1
    dying.kill()
    for store in stores:
        outcomes = [_outcome(store, number) for number in range(30)]
        assert set(outcomes) == {Session, StoreUnavailable}
    for store in stores:
        until(lambda store=store: all(_outcome(store, number) is Session for number in range(30)), 30)
        store.put_mark(ADA, Mark(valid_from=1), int(NOW) + DAY, NOW)
        assert len(store.find_user(ADA, NOW)) == 30
        cursor, pages = b"", []
        while cursor or not pages:
            found, cursor = store.page(cursor, 7, NOW)
            pages += found
        assert {each.key for each in pages} == {key_of(number) for number in range(30)}
    assert stores[0].end_many([key_of(number) for number in range(30)], "revoked", NOW) == 30


def _outcome(store: Any, number: int) -> type:
    try:
        return type(store.load(key_of(number), NOW))
    except StoreUnavailable:
        return StoreUnavailable


# Sentinels -------------------------------------------------------------------------------------------------------


class Watched:
    """A primary, a replica, and three Sentinels that watch them."""

    def __init__(self, folder: Path) -> None:
        options = ("--requirepass", "pw", "--masterauth", "pw", *QUICK)
        self.servers = [RedisServer(folder / name, *options).start() for name in ("one", "two")]
        primary, replica = self.servers
        with replica.client(password="pw") as client:
            client.replicaof("127.0.0.1", primary.port)
            until(lambda: client.info("replication").get("master_link_status") == "up")
        self.sentinels = []
        for number in range(3):
            port = free_port()
            place = folder / f"sentinel{number}"
            place.mkdir()
            (place / "sentinel.conf").write_text(
                f"port {port}\nbind 127.0.0.1\ndir {place}\n"
                f"sentinel monitor main 127.0.0.1 {primary.port} 2\nsentinel auth-pass main pw\n"
                "sentinel down-after-milliseconds main 1500\nsentinel failover-timeout main 3000\n"
            )
            self.sentinels.append(RedisServer(place, port=port, sentinel=True).start())
        self._hurry("info-period", "100", "ask-period", "100", "publish-period", "100")
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                until(lambda client=client: self._knows(client))  # type: ignore[misc]
        # For so long (fourfold) one Sentinel lets another finish, before it takes the new primary for a mistake.
        self._hurry("publish-period", "2000")

    def _hurry(self, *periods: str) -> None:
        for sentinel in self.sentinels:
            with sentinel.client() as client, suppress(redis.ResponseError):  # only since Redis 7
                client.execute_command("SENTINEL", "DEBUG", *periods)

    @staticmethod
    def _knows(client: redis.Redis) -> bool:
        state = client.sentinel_masters()["main"]
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:pw@{hosts}/main"

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.stop()


def test_the_sentinels_lead_to_the_new_primary(watched: Watched, both: Callable[[str], list[Any]]) -> None:
    stores = both(watched.url)
    for number, store in enumerate(stores):
        store.create(session(number), NOW)
        assert store.version(key_of(number)) == 1
    with watched.servers[0].client(password="pw") as client:
        assert client.wait(1, 5000) == 1
    watched.sentinels[0].kill()  # two are enough
    watched.servers[0].kill()
    for number, store in enumerate(stores):
        with pytest.raises(StoreUnavailable) as caught:
            store.save(session(number, version=2), NOW)
        assert "pw@" not in str(caught.value)
    for number, store in enumerate(stores):
        until(lambda store=store, number=number: store.save(session(number, version=2), NOW) is None, 30)
        assert store.load(key_of(number), NOW) == session(number, version=2)
        assert store.version(key_of(number)) == 2


def test_a_primary_that_was_demoted_is_left(
    watched: Watched, both: Callable[[str], list[Any]], leased: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still answers, as a replica does: nobody writes to it, and who did is led to the new one. Nor does anybody
    believe what it says of what changed."""
    monkeypatch.setattr(pipes, "AGAIN", 0.05)
    monkeypatch.setattr(lease, "AGAIN", 0.05)
    stores = both(watched.url)
    for number, store in enumerate(stores):
        store.create(session(number), NOW)
    slot = slot_of(key_of(0))
    listening = [stores[1].asked, leased(watched.url).counters]
    noted = [until(counters)[slot] for counters in listening]
    with watched.sentinels[1].client() as sentinel, watched.servers[0].client(password="pw") as client:
        assert client.wait(1, 5000) == 1
        assert sentinel.execute_command("SENTINEL", "FAILOVER", "main") == b"OK"
        until(lambda: client.info("replication")["role"] == "slave", 30)
    for counters, before in zip(listening, noted, strict=True):
        assert before not in [counts[slot] for counts in [counters() for _ in range(20)] if counts is not None]
    for number, store in enumerate(stores):
        until(lambda store=store, number=number: store.save(session(number, version=2), NOW) is None, 30)
        with watched.servers[1].client(password="pw") as client:
            assert client.get(store.operations.key_of(key_of(number))).startswith(b"S0000000002")
        assert store.load(key_of(number), NOW) == session(number, version=2)
    noted = [until(counters, 30)[slot] for counters in listening]
    stores[0].end(key_of(0), "revoked", NOW)
    assert listening[0]()[slot] != noted[0]
    until(lambda: (counts := listening[1]()) is not None and counts[slot] != noted[1])
    for store in both(watched.url.replace("/main", "/other")):
        with pytest.raises(StoreUnavailable, match="other"):
            store.load(key_of("ada"), NOW)


# TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a certificate for 127.0.0.1, one for a client, and another authority."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "other"):
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={authority}"),
            *("-addext", "keyUsage=critical,keyCertSign", "-keyout", f"{authority}.key", "-out", f"{authority}.pem"),
        )
    for name, alternative in (("server", "IP:127.0.0.1"), ("client", "DNS:client")):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "csr")
        (folder / "extensions").write_text(f"subjectAltName={alternative}\nauthorityKeyIdentifier=keyid\n")
        openssl(
            *("x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"),
            *("-extfile", "extensions", "-out", f"{name}.pem"),
        )
    return folder


def is_free(port: int) -> bool:
    with socket.socket() as trial, suppress(OSError):
        trial.bind(("127.0.0.1", port))
        return True
    return False


@pytest.fixture
def tls_server(tmp_path: Path, certificates: Path) -> Iterator[RedisServer]:
    """Speaks TLS beside, on ``port + 1``, and wants clients to have certificates."""
    plain = next(port for port in iter(free_port, 0) if is_free(port + 1))
    server = RedisServer(
        tmp_path / "tls",
        *("--tls-port", str(plain + 1), "--tls-auth-clients", "optional"),
        *("--tls-cert-file", str(certificates / "server.pem"), "--tls-key-file", str(certificates / "server.key")),
        *("--tls-ca-cert-file", str(certificates / "ca.pem"), "--save", "", "--appendonly", "no"),
        port=plain,
    ).start()
    yield server
    server.kill()


def test_over_tls_with_the_right_authority(tls_server: RedisServer, certificates: Path, opened: Opened) -> None:
    at = f"127.0.0.1:{tls_server.port + 1}"
    store = opened(f"rediss://{at}?ssl_ca_certs={certificates / 'ca.pem'}")
    store.create(session(), NOW)
    assert store.load(key_of("ada"), NOW) == session()
    assert store.version(key_of("ada")) == 1
    own = f"ssl_certfile={certificates / 'client.pem'}&ssl_keyfile={certificates / 'client.key'}"
    with tls_server.client() as client:
        client.config_set("tls-auth-clients", "yes")
    strict = opened(f"rediss://{at}?ssl_ca_certs={certificates / 'ca.pem'}&{own}")
    assert strict.load(key_of("ada"), NOW) == session()
    with pytest.raises(StoreUnavailable):
        opened(f"rediss://{at}?ssl_ca_certs={certificates / 'ca.pem'}").load(key_of("ada"), NOW)


def test_over_tls_a_process_hears_what_another_changes(
    tls_server: RedisServer, certificates: Path, open_as: Any, leased: Callable[[str], Any]
) -> None:
    url = f"rediss://127.0.0.1:{tls_server.port + 1}?ssl_ca_certs={certificates / 'ca.pem'}"
    far, asking, lagging = open_as("threads", url), open_as("asyncio", url), leased(url)
    far.create(session(), NOW)
    slot = slot_of(key_of("ada"))
    asked, held = until(asking.asked)[slot], until(lagging.counters)[slot]
    assert asking.asked()[slot] == asked
    far.end(key_of("ada"), "revoked", NOW)
    assert asking.asked()[slot] != asked
    until(lambda: (counts := lagging.counters()) is not None and counts[slot] != held)


def test_over_tls_whom_nobody_vouches_for_is_refused(
    tls_server: RedisServer, certificates: Path, opened: Opened
) -> None:
    port = tls_server.port + 1
    for text in (
        f"rediss://127.0.0.1:{port}",
        f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificates / 'other.pem'}",
        f"rediss://localhost:{port}?ssl_ca_certs={certificates / 'ca.pem'}",  # the certificate is for 127.0.0.1
        f"rediss://127.0.0.1:{tls_server.port}?ssl_ca_certs={certificates / 'ca.pem'}",  # speaks no TLS there
    ):
        with pytest.raises(StoreUnavailable):
            opened(text).load(key_of("ada"), NOW)
    unchecked = f"rediss://localhost:{port}?ssl_ca_certs={certificates / 'ca.pem'}&ssl_check_hostname=false"
    assert opened(unchecked).load(key_of("ada"), NOW) is None
