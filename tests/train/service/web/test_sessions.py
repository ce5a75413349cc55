from crossan.train.service.web.callers import Identity
from crossan.train.service.web.roles import Role
from crossan.train.service.web.sessions import SESSION_SECONDS, Sessions, cookie_header

ADA = Identity("ada", Role.SUBMIT)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_session_lasts_until_its_end():
    clock = Clock()
    sessions = Sessions(clock)
    session_id = sessions.begin(ADA).encode()

    clock.now = SESSION_SECONDS - 1
    assert sessions.identity_of(session_id) == ADA
    clock.now = SESSION_SECONDS
    assert sessions.identity_of(session_id) is None
    clock.now = 0
    assert sessions.identity_of(session_id) is None


def test_a_session_that_was_ended_is_unknown_and_others_go_on():
    sessions = Sessions(Clock())
    one, other = sessions.begin(ADA).encode(), sessions.begin(ADA).encode()

    sessions.end(one)
    sessions.end(b"unknown")

    assert sessions.identity_of(one) is None
    assert sessions.identity_of(other) == ADA


def test_ids_are_random_and_stay_out_of_memory():
    sessions = Sessions(Clock())
    ids = {sessions.begin(ADA) for _ in range(100)}

    assert len(ids) == 100
    assert min(map(len, ids)) >= 43
    assert not any(session_id in repr(vars(sessions)) for session_id in ids)


def test_more_sessions_than_there_may_be_end_the_oldest():
    sessions = Sessions(Clock())
    ids = [sessions.begin(ADA).encode() for _ in range(1001)]

    assert sessions.identity_of(ids[0]) is None
    assert sessions.identity_of(ids[1]) == ADA
    assert sessions.identity_of(ids[-1]) == ADA


def test_no_script_and_no_other_site_gets_the_cookie():
    parts = cookie_header("abc", is_secure=False).split("; ")

    assert parts[0] == "crossan_session=abc"
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(parts)
    assert "Secure" not in parts
    assert "Secure" in cookie_header("abc", is_secure=True).split("; ")
    assert "Max-Age=0" in cookie_header("", is_secure=False).split("; ")
