"""Alerts and dashboard ask only for what the server counts, in the right way."""

import json
import re
import unittest

import promql_parser
import yaml

from chart import CHART, ROOT, of_kind, rendered

# Labels that come with being scraped.
SCRAPED = {"namespace", "pod", "app_kubernetes_io_instance", "app_kubernetes_io_component", "le"}


def table():
    """The metrics of src/telemetry.rs: kind and labels by name as Prometheus sees it."""
    rows = re.findall(r'^    \w+ +(Counter|Gauge|Seconds|Ages|Cpu) +"(\w+)" +\[([^\]]*)\] +"', (ROOT / "src/telemetry.rs").read_text(), re.M)
    return {f"segue_{metric}": (kind, set(re.findall(r'"(\w+)"', labels))) for kind, metric, labels in rows}


def alerts():
    (rule,) = of_kind(rendered("production"), "PrometheusRule")
    return [(alert["alert"], alert["expr"]) for group in rule["spec"]["groups"] for alert in group["rules"]]


def dashboard():
    (config,) = [one for one in of_kind(rendered("production"), "ConfigMap")]
    return json.loads(config["data"]["segue.json"])


def panels():
    return [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", [])]


class Metrics(unittest.TestCase):
    def test_the_table_is_read_whole(self):
        variants = re.search(r"metric_table! \{\n(.*?)\n\}", (ROOT / "src/telemetry.rs").read_text(), re.S)[1].splitlines()
        self.assertEqual(len(table()), len(variants))

    def test_every_query_is_promql_over_metrics_that_exist(self):
        known, asked = table(), set()
        for where, query in alerts() + panels():
            with self.subTest(where):
                query = query.replace("$__rate_interval", "5m")
                promql_parser.parse(query)
                labels = set(SCRAPED)
                for before, metric, matchers in re.findall(r"(\w*)\(?(segue_\w+)(?:\{([^}]*)\})?", query):
                    base = re.sub("_(bucket|sum|count)$", "", metric)
                    self.assertIn(base, known, "no such metric")
                    kind, own = known[base]
                    asked.add(base)
                    self.assertEqual(kind in ("Seconds", "Ages", "Cpu"), base != metric, f"{metric}: a distribution has _bucket, _sum and _count, others have not")
                    self.assertEqual(before in ("rate", "increase"), kind != "Gauge", f"{metric}: what only grows is asked for its rate, a gauge is not")
                    matched = set(re.findall(r"(\w+)\s*(?:=|!)", matchers))
                    self.assertLessEqual(matched, SCRAPED | own, f"{metric} has no such label")
                    self.assertLessEqual({"namespace", "app_kubernetes_io_instance"}, matched, "another release would be counted too")
                    labels |= own
                grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")}
                self.assertLessEqual(grouped, labels, "grouped by a label that is not there")
                self.assertEqual("histogram_quantile" in query, "le" in grouped)
        self.assertGreater(len(asked), 25)

    def test_every_name_in_the_chart_is_a_metric(self):
        known = table()
        for file in sorted(CHART.rglob("*")):
            if file.is_file():
                for metric in re.findall(r"\bsegue_[a-z_]+\b", file.read_text()):
                    # A keyspace is called so too.
                    if metric != "segue_production":
                        self.assertIn(re.sub("_(bucket|sum|count)$", "", metric), known, file)

    def test_alerts_have_names_of_their_own_and_one_server_has_none_of_the_many(self):
        names = [name for name, _ in alerts()]
        self.assertEqual(len(names), len(set(names)))
        (rule,) = of_kind(rendered("small", "--set=monitoring.rules.enabled=true"), "PrometheusRule")
        of_one = {alert["alert"] for group in rule["spec"]["groups"] for alert in group["rules"]}
        self.assertEqual(of_one, set(names) - {alert["alert"] for alert in yaml.safe_load((CHART / "rules/many.yaml").read_text())})
        self.assertIn('app_kubernetes_io_component="all"', str(rule))

    def test_bounds_come_from_the_values(self):
        queries = dict(alerts())
        self.assertIn("0.9 * 34359738368", queries["SegueJournalFull"])
        self.assertIn("< 128 or", queries["SegueAccountingUnowned"])

    def test_the_dashboard_is_laid_out(self):
        shown = dashboard()
        ids = [panel["id"] for panel in shown["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        taken = set()
        for panel in shown["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, f'{panel["title"]} lies on another panel')
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
        for variable in ("datasource", "namespace", "release"):
            self.assertIn(variable, [one["name"] for one in shown["templating"]["list"]])
