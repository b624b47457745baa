from app.server.connections import Admission, Connections


def test_each_address_may_have_so_many_connections_and_is_told_of_as_many_more() -> None:
    clients = Connections(2)
    told = [clients.enter("192.0.2.1") for _ in range(6)]
    assert told == [Admission.OPEN] * 2 + [Admission.REFUSED] * 2 + [Admission.CUT] * 2
    assert clients.enter("192.0.2.2") is Admission.OPEN


def test_who_is_refused_keeps_nobody_out() -> None:
    clients = Connections(1)
    told = [clients.enter("::1") for _ in range(3)]
    clients.leave("::1", told[0])
    assert clients.enter("::1") is Admission.OPEN
    assert clients.enter("::1") is Admission.CUT
    clients.leave("::1", told[1])
    assert clients.enter("::1") is Admission.REFUSED


def test_without_a_limit_all_may_come() -> None:
    clients = Connections()
    assert {clients.enter("::1") for _ in range(1000)} == {Admission.OPEN}
