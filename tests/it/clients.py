"""What redis-py and its cluster client must be able to do. Run by clients.rs: mode, then ports."""

import sys

import redis

mode, ports = sys.argv[1], [int(port) for port in sys.argv[2:]]


def strings(client):
    """The string commands, through whatever client."""
    assert client.set("py:a", b"\x00\xff binary \r\n") is True
    assert client.get("py:a") == b"\x00\xff binary \r\n"
    assert client.get("py:absent") is None
    assert client.set("py:a", "x", nx=True) is None
    assert client.set("py:b", "1", nx=True) is True
    assert client.incr("py:b", 41) == 42
    assert client.decr("py:b") == 41
    assert client.append("py:b", "0") == 3
    assert client.strlen("py:b") == 3
    assert client.getrange("py:b", 0, 1) == b"41"
    assert client.setrange("py:b", 1, "9") == 3
    assert client.getset("py:b", "new") == b"490"
    assert client.getdel("py:b") == b"new"
    assert client.exists("py:b") == 0
    assert client.type("py:a") == b"string"
    client.set("py:empty", "")
    assert client.get("py:empty") == b""
    assert client.delete("py:a") == 1
    client.set("py:word", "abc")
    try:
        client.incr("py:word")
        raise SystemExit("an increment of a word was accepted")
    except redis.ResponseError as error:
        assert "not an integer" in str(error), error


def many(client, count):
    """Writes and reads a few hundred keys, which are all over the slots."""
    for at in range(count):
        assert client.set(f"py:many:{at}", str(at)) is True
    for at in range(count):
        assert client.get(f"py:many:{at}") == str(at).encode()


if mode == "plain":
    for protocol in (2, 3):
        client = redis.Redis(port=ports[0], protocol=protocol)
        assert client.ping() is True
        client.flushall()
        strings(client)
        many(client, 200)
        assert client.mset({"py:{tag}:1": "1", "py:{tag}:2": "2"}) is True
        assert client.mget("py:{tag}:1", "py:{tag}:2", "py:none") == [b"1", b"2", None]
        pipeline = client.pipeline(transaction=False)
        for at in range(100):
            pipeline.incr(f"py:count:{at % 10}")
        assert sorted(pipeline.execute())[-1] == 10
        assert len(set(client.scan_iter("py:many:*", count=50))) == 200
        assert client.delete(*[f"py:many:{at}" for at in range(200)]) == 200
        assert client.info("server")["redis_version"] == "7.0.15"
        about = client.client_info()
        assert about["laddr"] == f"127.0.0.1:{ports[0]}", about
        assert about["addr"].startswith("127.0.0.1:") and about["addr"] != about["laddr"], about
        client.close()
else:
    for port in (ports[0], ports[-1]):
        client = redis.RedisCluster(host="127.0.0.1", port=port)
        strings(client)
        many(client, 100)
        assert client.mset_nonatomic({f"py:many:{at}": "z" for at in range(50)})
        assert client.mget_nonatomic([f"py:many:{at}" for at in range(50)]) == [b"z"] * 50
        client.close()

print("all good")
