"""How far a search has come, as its driver stores it."""

from datetime import UTC, datetime, timedelta

from nas.store.store import Store


def test_the_last_standing_is_kept_with_its_time(store, study, build):
    other = build.study(store, "other")
    assert store.standing(study) is None
    for done in (1, 2):
        store.set_standing(study, {"done": done, "best": float("nan")})
    content, when = store.standing(study)
    assert content == {"done": 2, "best": None}
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)
    assert store.standing(other) is None
    store.delete_study("tiny")
    assert store.study("other").state == "running"
    assert store.standing(study) is None


def test_others_see_whether_a_driver_works_on_a_study(store_url, build, tmp_path):
    with Store.open(store_url, create=True) as driver, Store.open(store_url) as onlooker:
        driver.claim("tiny", tmp_path)
        build.study(driver)
        is_server = store_url.startswith("postgresql")
        assert onlooker.is_claimed("tiny") is (True if is_server else None)
        assert onlooker.is_claimed("other") is (False if is_server else None)
        driver.close()
        assert onlooker.is_claimed("tiny") is (False if is_server else None)
