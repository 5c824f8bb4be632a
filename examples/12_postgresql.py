"""Keep a study's rows on a PostgreSQL server, and ask them there.

    pip install "transformer-nas[postgresql]"
    NAS_DATABASE=postgresql://me:secret@host/nas python examples/12_postgresql.py

The URL may also be the argument, without a password where libpq finds one (PGPASSWORD, ~/.pgpass):
arguments are seen by everyone on the machine. Models stay in ./studies/on_a_server. About half a
minute on two cores, and running the script again shows the result at once.
"""

import os
import sys
from pathlib import Path

import sqlalchemy as sa

import nas

SMALL = Path(__file__).with_name("small.yaml")


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("NAS_DATABASE")
    if not url:
        sys.exit("which server? NAS_DATABASE=postgresql://USER:PASSWORD@HOST/DATABASE python ...")
    study = nas.search(SMALL, name="on_a_server", database=url)

    print(f"{study.name} is in {study.database}; from any machine that reaches it:")
    print(f"    nas trials '{study.database}#{study.name}'")
    engine = sa.create_engine(study.url)  # any client will do, psql for instance
    asked = sa.text(
        "SELECT candidate_id, params, val_loss FROM nas_leaderboard "
        "WHERE study = :study AND role = 'search' AND state = 'complete' ORDER BY val_loss LIMIT 3"
    )
    with engine.connect() as connection:
        for candidate_id, params, loss in connection.execute(asked, {"study": study.name}):
            print(f"{candidate_id}  {params:,} parameters, loss {loss:.4f}")
    engine.dispose()

    print(f"\nThe winner lies here: {nas.load(study).folder}")


main()  # without a guard on __name__: workers do not import this script
