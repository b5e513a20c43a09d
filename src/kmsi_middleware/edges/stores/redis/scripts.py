"""What the server does in one step, in Lua. Each script has one key, so that a cluster runs it, too.

Every one may be sent a second time, when nobody knows whether it was run: the name of the write that is in the value
(``ARGV`` of each) tells the repetition from another write, and it answers what it answered before. ``now`` is the
caller's clock, in whole seconds.

A server whose memory is full refuses a script whose first write may need more. To end a session, to mark and to take
a ticket must go on even so, and begin with a ``DEL``.
"""

from __future__ import annotations

import hashlib

from ....vocabulary.records import frozen


@frozen
class Script:
    text: str
    digest: str


def _script(text: str) -> Script:
    text = text.strip()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


BEGIN = _script("""
-- ARGV: the pending session, now, ttl. Answers false, or what holds the key: a pending session, or 'taken'.
local held = redis.call('GET', KEYS[1])
if held and tonumber(ARGV[2]) < tonumber(string.sub(held, 12, 23)) then
    if string.sub(held, 2, 39) == string.sub(ARGV[1], 2, 39) then return false end
    if string.sub(held, 1, 1) == 'P' then return held end
    return 'taken'
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return false
""")

FINISH = _script("""
-- ARGV: the head without its kind, ttl. Answers 1, or the kind of what holds the key.
local held = redis.call('GETRANGE', KEYS[1], 0, 38)
if string.sub(held, 2) ~= ARGV[1] then return string.sub(held, 1, 1) end
redis.call('SETRANGE', KEYS[1], 0, 'S')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
""")

DROP = _script("""
-- ARGV: the head without its kind.
if string.sub(redis.call('GETRANGE', KEYS[1], 0, 38), 2) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
""")

SAVE = _script("""
-- ARGV: kind and version before, the session, now, ttl. Answers 1, or 0 for another version.
local held = redis.call('GETRANGE', KEYS[1], 0, 38)
if held == string.sub(ARGV[2], 1, 39) then return 1 end
if string.sub(held, 1, 11) ~= ARGV[1] or tonumber(ARGV[3]) >= tonumber(string.sub(held, 12, 23)) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
return 1
""")

END = _script("""
-- ARGV: the tombstone's head, reason, now, ttl. Answers the session that was there; 1 when repeated; else false.
local held = redis.call('GET', KEYS[1])
if not held then return false end
if string.sub(held, 1, 39) == ARGV[1] then return 1 end
if string.sub(held, 1, 1) == 'T' or tonumber(ARGV[3]) >= tonumber(string.sub(held, 12, 23)) then return false end
local correlation = string.sub(held, 40, 42 + tonumber(string.sub(held, 40, 42)))
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1] .. correlation .. ARGV[2], 'EX', ARGV[4])
return held
""")

INDEX = _script("""
-- ARGV: score, member, the score up to which members are dropped, ttl.
redis.call('ZADD', KEYS[1], 'GT', ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1
""")

PUT_TICKET = _script("""
-- ARGV: the ticket, now, ttl. Answers 1, or 0 for a taken key.
local held = redis.call('GETRANGE', KEYS[1], 0, 28)
if string.sub(held, 1, 1) == '+' and tonumber(ARGV[2]) < tonumber(string.sub(held, 2, 13)) then
    return string.sub(held, 14) == string.sub(ARGV[1], 14, 29) and 1 or 0
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return 1
""")

TAKE_TICKET = _script("""
-- ARGV: the taker's name, now, for how many seconds a repetition is answered. Answers the payload, or false.
local held = redis.call('GET', KEYS[1])
if not held then return false end
if string.sub(held, 1, 1) == '-' then
    return string.sub(held, 14, 29) == ARGV[1] and string.sub(held, 30)
end
if tonumber(ARGV[2]) >= tonumber(string.sub(held, 2, 13)) then return false end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '-' .. string.sub(held, 2, 13) .. ARGV[1] .. string.sub(held, 30), 'EX', ARGV[3])
return string.sub(held, 30)
""")

PUT_MARK = _script("""
-- ARGV: valid_from, real_from, until, now, seconds of slack.
local valid, real, till, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('GET', KEYS[1])
if held then
    local v, r, u = string.match(held, '^(%d+) (%d+) (%d+)$')
    if now < tonumber(u) then
        valid, real, till = math.max(valid, tonumber(v)), math.max(real, tonumber(r)), math.max(till, tonumber(u))
    end
end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], string.format('%d %d %d', valid, real, till), 'EX',
    math.max(till - now, 0) + tonumber(ARGV[5]))
return 1
""")
