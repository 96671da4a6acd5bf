"""The table of the kills of tests/integration/test_fault_matrix.py, made of the lines of JSON that its rounds left.

`python tests/fault_table.py FILE` prints it.
"""

import json
import sys
from pathlib import Path


def table(file: Path) -> str:
    """One row for each set of parts that was killed together, over all its rounds."""
    rounds: dict[str, list[dict]] = {}
    for line in file.read_text().splitlines():
        one = json.loads(line)
        rounds.setdefault(" and ".join(one["killed"]), []).append(one)
    rows = [
        "| killed | rounds | answered | lost | twice | breaks | allows again, s | all stored, s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for killed, made in rounds.items():
        sums = [sum(one[name] for one in made) for name in ("answered", "lost", "twice", "breaks")]
        slowest = [max(one[name] for one in made) for name in ("allows_again", "all_known")]
        rows.append(f"| {killed} | {len(made)} | {' | '.join(map(str, sums))} | {' | '.join(map(str, slowest))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
