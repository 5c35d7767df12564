"""What a role counts comes out as Prometheus reads it."""

from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics


def _samples(metrics):
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def test_requests_are_counted_by_endpoint_and_status():
    metrics = Metrics()
    metrics.observe("GET /blocks", 200, 0.3, 0, 1000)
    metrics.observe("GET /blocks", 200, 20.0, 0, 500)
    metrics.observe("POST /cases", 429, 0.001, 70, 50)
    samples = _samples(metrics)
    assert samples["hushmatch_requests_total", ("endpoint", "GET /blocks"), ("status", "200")] == 2
    assert samples["hushmatch_requests_total", ("endpoint", "POST /cases"), ("status", "429")] == 1
    assert samples["hushmatch_sent_bytes_total", ("endpoint", "GET /blocks")] == 1500
    assert samples["hushmatch_received_bytes_total", ("endpoint", "POST /cases")] == 70
    assert samples["hushmatch_request_seconds_sum", ("endpoint", "GET /blocks")] == 20.3
    assert samples["hushmatch_request_seconds_bucket", ("endpoint", "GET /blocks"), ("le", "0.5")] == 1
    assert samples["hushmatch_request_seconds_bucket", ("endpoint", "GET /blocks"), ("le", "30.0")] == 2


def test_two_roles_in_one_process_count_apart():
    first, second = Metrics(), Metrics()
    first.observe("GET /blocks", 200, 0.1, 0, 0)
    assert not [key for key in _samples(second) if key[0].startswith("hushmatch_")]


def test_what_stands_somewhere_anyway_is_read_when_somebody_asks():
    metrics, queue, cases = Metrics(), [], {"active": 2}
    metrics.watch("queued_entries", "Entries that wait", lambda: len(queue))
    metrics.watch_by("cases", "Cases", "status", lambda: cases)
    assert _samples(metrics)[("hushmatch_queued_entries",)] == 0
    queue.append("entry")
    cases["deleted"] = 1
    samples = _samples(metrics)
    assert samples[("hushmatch_queued_entries",)] == 1
    assert samples["hushmatch_cases", ("status", "active")] == 2
    assert samples["hushmatch_cases", ("status", "deleted")] == 1
