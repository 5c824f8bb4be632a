"""Search a recommender over a log of events, load the best and ask for a user's next items.

    python examples/05_recommend.py [TABLE]

TABLE is a csv, tsv or jsonl file with the columns user, item and time; without one, the users are
functions of the standard library and the items are the names they call. About a minute on two
cores. The study stays in ./studies/items, and running the script again shows its result at once.
"""

import sys

import nas
from nas.data import PreparedData
from nas.data.rows import Ragged


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else "builtin:name-log"
    study = nas.search(
        "recommend_names",  # the shipped study file, with less time
        name="items",
        overrides={"task.data": data, "stop.minutes": 0.75, "finalists.top": 1},
    )

    for group in study.finalists():
        who = "reference" if group.is_reference else f"#{group.rows[0].number}"
        hits, ndcg = group.mean("test_hit_rate_10"), group.mean("test_ndcg_10")
        print(f"{who:10} test hit rate at 10 {hits:.3f}, NDCG at 10 {ndcg:.3f}")

    model = nas.load(study)
    user = Ragged(PreparedData.open(study.folder / "data"), "val")[0]
    history = [model.tokenizer.id_to_token(int(item)) for item in user]
    print("\nafter ", *history[-5:])
    print("comes ", *(answer.label for answer in model.predict(history, top_k=5)))


main()  # without a guard on __name__: workers do not import this script
