from concurrent.futures import ThreadPoolExecutor

from comit_ray.storage.threads import map_ahead


def test_results_are_in_order_and_no_more_than_the_bound_is_begun():
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number * number

    with ThreadPoolExecutor(4) as pool:
        for place, result in enumerate(map_ahead(pool, work, range(50), 6)):
            assert result == place * place
            assert len(begun) <= place + 6 + 1
    assert sorted(begun) == list(range(50))


def test_nothing_in_nothing_out():
    with ThreadPoolExecutor(1) as pool:
        assert list(map_ahead(pool, abs, [], 3)) == []
