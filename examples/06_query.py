"""Ask one question of a study four ways: which candidates under 200,000 parameters are best?

    python examples/06_query.py [STUDY]

STUDY is the name, folder or database URL of a study that ranks by val_loss; without one,
examples/small.yaml is searched, which takes half a minute the first time.
"""

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from optuna.trial import TrialState

import nas

SMALL = Path(__file__).with_name("small.yaml")
LIMIT = 200_000
SQL = """
SELECT candidate_id, params, val_loss, n_layer, d_model, n_head, d_ff FROM nas_leaderboard
WHERE study = :study AND role = 'search' AND state = 'complete' AND params < :limit
ORDER BY val_loss LIMIT 3
"""


def main() -> None:
    study = nas.open_study(sys.argv[1]) if len(sys.argv) > 1 else nas.search(SMALL)

    print("Command line: nas trials STUDY --where ...", flush=True)
    where = f"params < {LIMIT} and state == 'complete'"
    command = ["trials", str(study.folder), "--where", where, "--role", "search", "--limit", "3"]
    subprocess.run([sys.executable, "-m", "nas", *command], check=True)

    print("\nPython: study.trials(...)")
    for row in study.trials(where, role="search", limit=3):
        print(row.candidate_id, row.params, round(row.metrics["val_loss"], 4), dict(row.shape))

    print("\nSQL: the view nas_leaderboard, with any client")
    engine = sa.create_engine(study.url)  # a file by default: sqlite3 studies/small/study.db
    with engine.connect() as connection:
        for row in connection.execute(sa.text(SQL), {"study": study.name, "limit": LIMIT}):
            print(*row)
    engine.dispose()

    print("\nOptuna: a finished trial for each candidate")
    done = study.optuna_study().get_trials(states=[TrialState.COMPLETE])
    small = [trial for trial in done if trial.user_attrs["params"] < LIMIT]
    for trial in sorted(small, key=lambda trial: trial.value)[:3]:
        print(trial.user_attrs["candidate_id"], round(trial.value, 4), trial.params)


main()  # without a guard on __name__: workers do not import this script
