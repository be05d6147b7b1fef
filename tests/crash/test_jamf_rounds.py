"""kill -9 in every step of a round over Jamf Pro."""

import pytest
from harness import eventually, jamf_settings


def last_delta(server):
    return server.control("status")["parts"]["store"]["lastDelta"]


# With pages of three a round over ten computers asks four times for a page, twice for what is missing, once for what is there.
@pytest.mark.parametrize("on, after", [("list", 0), ("list", 1), ("list", 3), ("one", 0), ("one", 1), ("one", 2)])
def test_killed_in_the_middle_of_a_round(jamf, make_server, on, after):
    jamf.switch("page_cap", 3)
    server = make_server(**jamf_settings(jamf))
    macs = [jamf.add("computers", "mac-%d" % i) for i in range(12)]
    server.sync_round()
    serials = [server.sign(str(mac["id"]), "jamf", ou="computers")[1] for mac in macs]
    start = last_delta(server)
    server.stop()  # so that the round which is held is the first that can see what is gone
    for gone in (3, 8):
        jamf.delete("computers", macs[gone]["id"])
    seen = len(jamf.requests())
    jamf.switch("hold", on="computers." + on, after=after)
    server.start()
    jamf.wait(1, since=seen, on="computers." + on, held=True)
    listed = {c["serial"]: c["status"] for c in server.all_certificates()}
    assert {listed[serial] for serial in serials} == {"good"}, "nothing is deleted before the end"
    server.kill()
    jamf.clear("hold")
    server.start()
    expected = ["revoked" if i in (3, 8) else "good" for i in range(12)]
    eventually(lambda: [server.status_of(serial) for serial in serials] == expected, "the state is what an uninterrupted run would give")
    assert last_delta(server) - start == 2
    server.sync_round()
    assert last_delta(server) - start == 2 and jamf.violations() == []
