"""The settings that the chart knows are those of the server, and the server takes what the chart gives it."""

import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from chart import CHART, ROOT, SETS, containers, environment, name, of_kind, rendered

SCHEMA = CHART / "values.schema.json"
# What the chart sets by other values or by itself, so that config does not have it.
OWN = {"server.listen", "server.roles", "data.dir", "kafka.brokers", "kafka.security", "kafka.user", "kafka.password_file", "kafka.ca_file",
       "cql.hosts", "cql.keyspace", "cql.datacenter", "cql.user", "cql.password_file", "cql.tls", "cql.ca_file"}


def settings():
    """The settings of segue.example.toml, as the schema of `config`."""
    sections, section, comment = {}, None, []
    for line in (ROOT / "segue.example.toml").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("#"):
            comment.append(line[1:].strip())
        elif " = " in line:
            key, value = line.split(" = ", 1)
            form = " ".join(comment)
            bounds = re.search(r"From (\d+) to (\d+)\.$", form)
            words = re.search(r"One of: (.*)\.$", form)
            if bounds:
                kind = {"type": "integer", "minimum": int(bounds[1]), "maximum": int(bounds[2])}
            elif words:
                kind = {"type": "string", "enum": words[1].split(", ")}
            else:
                assert value.startswith('"'), f"{section}.{key}: neither a number with bounds nor a text"
                kind = {"type": "string"}
            if f"{section}.{key}" not in OWN:
                sections.setdefault(section, {})[key] = kind
        else:
            comment = []
    shut = {"type": "object", "additionalProperties": False}
    return {**shut, "properties": {section: {**shut, "properties": keys} for section, keys in sections.items()}}


class Settings(unittest.TestCase):
    def test_the_chart_knows_the_settings_of_the_example_file(self):
        schema = json.loads(SCHEMA.read_text())
        if os.environ.get("UPDATE_GOLDEN"):
            schema["properties"]["config"] = settings()
            SCHEMA.write_text(json.dumps(schema, indent=2) + "\n")
        self.assertGreater(sum(len(one["properties"]) for one in settings()["properties"].values()), 30)
        self.assertEqual(schema["properties"]["config"], settings(),
                         "config in helm/segue/values.schema.json differs from segue.example.toml; UPDATE_GOLDEN=1 scripts/helm/test.sh writes it anew")

    def test_the_server_takes_every_environment(self):
        segue = os.environ.get("SEGUE_TEST_BINARY")
        if not segue:
            self.skipTest("there is no segue; cargo build makes it")
        segue, asked = Path(segue).resolve(), 0
        for objects in (*map(rendered, SETS), rendered("minimal", "--set=config.journal.quota_bytes=8589934592,config.log.level=debug")):
            for workload in of_kind(objects, "StatefulSet", "Job"):
                for container in containers(workload):
                    with self.subTest(f'{name(workload)}, {container["name"]}'), tempfile.TemporaryDirectory() as folder:
                        # Elsewhere, so that no segue.toml is found.
                        done = subprocess.run([segue, "config", "check"], env=environment(container), cwd=folder, capture_output=True, text=True)
                        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                        asked += 1
        self.assertGreater(asked, 12)
        done = subprocess.run([segue, "config", "check"], env={"SEGUE_SERVER__ROLES": "acounting"}, capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0, "else the test above would say nothing")
