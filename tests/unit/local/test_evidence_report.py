"""The report of evidence has every aim, also of the parts that have benchmarks of their own."""

import json
import sys

from bench import evidence, provable, replay, search


def told(monkeypatch, capsys, *options):
    monkeypatch.setattr(sys, "argv", ["evidence.py", "--quick", "--opa", "opa", "--output", "json", *options])
    evidence.main()
    return json.loads(capsys.readouterr().out)


def test_all_parts_are_one_report(monkeypatch, capsys, tmp_path):
    asked = []

    def part(aims):
        def report(*given):
            asked.append(given)
            return {f"figure of {one}": 2.0 for one in aims}, dict.fromkeys(aims, 1.5)

        return report

    for module in (provable, replay, search):
        monkeypatch.setattr(module, "report", part(module.AIMS))
    monkeypatch.setattr(evidence, "measure", part(evidence.AIMS))
    aims = {**evidence.AIMS, **provable.AIMS, **replay.AIMS, **search.AIMS}
    assert len(aims) == sum(len(one.AIMS) for one in (evidence, provable, replay, search))

    document = told(monkeypatch, capsys, "--all", "--plot", str(tmp_path / "growth.svg"))
    assert (document["aims"], document["ratios"].keys()) == (aims, aims.keys())
    assert len(document["figures"]) == len(aims)
    assert asked[-1][1:] == (search.QUICK, 5, None, tmp_path / "growth.svg")
    assert told(monkeypatch, capsys)["aims"] == evidence.AIMS
