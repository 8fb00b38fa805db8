"""What can be said of the Dockerfile without building it."""

import re
import tomllib
import unittest

import yaml

from chart import CHART, ROOT, containers, environment, of_kind, rendered


def steps():
    """The Dockerfile's steps as (word, rest), lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line and not line.startswith("#")]


class Image(unittest.TestCase):
    def test_it_is_built_by_the_pinned_toolchain(self):
        channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
        self.assertEqual(steps()[0], ("FROM", f"rust:{channel}-slim-trixie AS build"))
        self.assertIn(("ENV", f"RUSTUP_TOOLCHAIN={channel}"), steps())

    def test_it_runs_as_the_chart_runs_it(self):
        last = dict(steps()[next(index for index, step in enumerate(steps()) if step[0] == "FROM" and index):])
        user = yaml.safe_load((CHART / "values.yaml").read_text())["podSecurityContext"]
        self.assertEqual(last["USER"], f'{user["runAsUser"]}:{user["runAsGroup"]}')
        self.assertEqual((last["ENTRYPOINT"], last["CMD"]), ('["segue"]', '["serve"]'))
        for workload in of_kind(rendered("small"), "StatefulSet"):
            (container,) = containers(workload)
            own = dict(pair.split("=", 1) for pair in last["ENV"].split())
            self.assertLessEqual(own.items(), environment(container).items())
            self.assertIn(last["VOLUME"], [mount["mountPath"] for mount in container["volumeMounts"]])

    def test_the_build_gets_what_it_needs_and_no_secrets(self):
        ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")}
        manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
        needed = {"Cargo.toml", "Cargo.lock", "src", "schemas", "benches", "tests", manifest["package"]["build"]}
        self.assertFalse(ignored & needed)
        for path in needed:
            self.assertTrue((ROOT / path).exists(), path)
        # Data directories hold keys.
        self.assertLessEqual({".git", "target", "segue-data", "demo-data", "segue.toml"}, ignored)
