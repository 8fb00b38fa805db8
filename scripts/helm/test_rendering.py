"""What the chart makes of each set of values: valid for Kubernetes, and what Segue needs."""

import re
import shutil
import tempfile
import unittest
from pathlib import Path

import kubernetes_validate

from chart import (CHART, KUBERNETES, NAMESPACE, SETS, component, containers, environment, helm, meets, name, of_kind, pod_of, rendered,
                   template)

WORKLOADS = ("StatefulSet", "Job")
# Kinds of the Prometheus operator: Kubernetes has no schema of them.
CUSTOM = ("ServiceMonitor", "PrometheusRule")
# Groups and kinds that a mode has, and no others.
KINDS = {
    "minimal": {"StatefulSet": 4, "Service": 7, "PodDisruptionBudget": 4, "NetworkPolicy": 5, "ServiceAccount": 1, "Job": 1},
    "production": {"StatefulSet": 4, "Service": 7, "PodDisruptionBudget": 4, "NetworkPolicy": 5, "ServiceAccount": 1, "Job": 1,
                   "HorizontalPodAutoscaler": 2, "Ingress": 3, "ConfigMap": 1, "ServiceMonitor": 1, "PrometheusRule": 1},
    "small": {"StatefulSet": 1, "Service": 4, "NetworkPolicy": 1, "ServiceAccount": 1},
}


class Rendering(unittest.TestCase):
    def test_lint_finds_nothing(self):
        for values in SETS:
            with self.subTest(values):
                file = str(CHART / f"ci/{values}-values.yaml")
                status, printed = helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES[-1], "--values", file)
                self.assertEqual(status, 0, printed)
                self.assertIn("0 chart(s) failed", printed)

    def test_every_object_is_valid_for_the_oldest_and_the_newest_kubernetes(self):
        for values in SETS:
            for version in KUBERNETES:
                judged = 0
                for one in rendered(values):
                    if one["kind"] in CUSTOM:
                        continue
                    with self.subTest(f"{values}, {version}: {name(one)}"):
                        kubernetes_validate.validate(one, version, strict=True)
                        judged += 1
                self.assertGreater(judged, 5)

    def test_the_schemas_refuse_what_is_wrong(self):
        """Else the test above would say nothing."""
        for wrong in ({"replicas": "3"}, {"replica": 3}):
            one = dict(rendered("minimal")[0])
            self.assertNotIn("replicas", one["spec"])
            one["spec"] = {**one["spec"], **wrong}
            with self.assertRaises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(one, KUBERNETES[-1], strict=True)

    def test_each_mode_has_its_objects_and_no_others(self):
        for values in SETS:
            counted = {}
            for one in rendered(values):
                counted[one["kind"]] = counted.get(one["kind"], 0) + 1
            self.assertEqual(counted, KINDS[values], values)

    def test_names_are_unique_and_short_enough(self):
        long = "--set=fullnameOverride=" + "x" * 40
        for objects in (*map(rendered, SETS), rendered("production", long)):
            names = [name(one) for one in objects]
            self.assertEqual(len(names), len(set(names)))
            # A pod's name has a number behind that of its StatefulSet, which has 52 characters at most for the label of its revision.
            self.assertEqual([one for one in names if len(one.split()[1]) > 63], [])
            self.assertEqual([name(one) for one in of_kind(objects, "StatefulSet") if len(one["metadata"]["name"]) > 52], [])

    def test_every_role_is_served_by_its_own_servers(self):
        many = {"decision,beacon", "campaign", "accounting", "profile"}
        for values, roles in (("minimal", many), ("production", many), ("small", {"all"})):
            workloads = of_kind(rendered(values), "StatefulSet")
            served = {environment(one)["SEGUE_SERVER__ROLES"] for workload in workloads for one in containers(workload)}
            self.assertEqual(served, roles)

    def test_every_pod_is_confined(self):
        for values in SETS:
            for workload in of_kind(rendered(values), *WORKLOADS):
                spec = pod_of(workload)["spec"]
                self.assertIs(spec["automountServiceAccountToken"], False)
                self.assertIs(spec["enableServiceLinks"], False, "variables SEGUE_... of a Service would be taken for settings")
                self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
                self.assertGreater(spec["securityContext"]["runAsUser"], 0)
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                for container in containers(workload):
                    self.assertEqual(container["securityContext"], {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                                    "capabilities": {"drop": ["ALL"]}})
                    self.assertIn("memory", container["resources"]["limits"])
                    # The only folder that can be written is the server's volume.
                    written = [mount["mountPath"] for mount in container.get("volumeMounts", []) if not mount.get("readOnly")]
                    self.assertEqual(written, ["/var/lib/segue"] if workload["kind"] == "StatefulSet" else [])
                    if written:
                        self.assertTrue(environment(container)["SEGUE_DATA__DIR"].startswith("/var/lib/segue/"))

    def test_every_server_is_probed_where_it_answers(self):
        for values in SETS:
            for workload in of_kind(rendered(values), "StatefulSet"):
                (container,) = containers(workload)
                probes = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
                lives, ready = {"path": "/healthz", "port": "http"}, {"path": "/readyz", "port": "http"}
                self.assertEqual(probes, {"startupProbe": lives, "livenessProbe": lives, "readinessProbe": ready})
                (port,) = container["ports"]
                self.assertEqual((port["name"], environment(container)["SEGUE_SERVER__LISTEN"]), ("http", f'0.0.0.0:{port["containerPort"]}'))

    def test_a_server_is_killed_only_after_it_had_the_time_to_drain(self):
        for values, drain in (("minimal", 10), ("production", 15.5)):
            for workload in of_kind(rendered(values), "StatefulSet"):
                spec = pod_of(workload)["spec"]
                pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
                # The journal is shipped for 30 s at most.
                self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], pause + drain + 30 + 10, values)

    def test_a_server_that_is_scaled_away_leaves_its_volume(self):
        for values in SETS:
            for workload in of_kind(rendered(values), "StatefulSet"):
                self.assertEqual(workload["spec"]["persistentVolumeClaimRetentionPolicy"], {"whenScaled": "Retain", "whenDeleted": "Retain"})
                (claim,) = workload["spec"]["volumeClaimTemplates"]
                self.assertEqual(claim["spec"]["accessModes"], ["ReadWriteOnce"])
                mounted = {mount["name"] for container in containers(workload) for mount in container["volumeMounts"]}
                self.assertIn(claim["metadata"]["name"], mounted)

    def test_every_mounted_secret_is_a_volume_and_every_file_is_where_the_server_looks(self):
        seen = set()
        for values in SETS:
            for workload in of_kind(rendered(values), *WORKLOADS):
                volumes = {one["name"]: one for one in pod_of(workload)["spec"].get("volumes", [])}
                for container in containers(workload):
                    mounts = {one["name"]: one["mountPath"] for one in container.get("volumeMounts", []) if one["name"] != "data"}
                    self.assertEqual(set(mounts), set(volumes))
                    files = {f'{mounts[volume]}/{item["path"]}' for volume in volumes for item in volumes[volume]["secret"]["items"]}
                    named = {value for key, value in environment(container).items() if key.endswith("_FILE")}
                    self.assertEqual(named, files)
                    seen |= named
        self.assertEqual(len(seen), 4, "production has a password and certificates for each")

    def test_every_selector_finds_what_it_is_for(self):
        for values in SETS:
            objects = rendered(values)
            pods = [pod_of(workload)["metadata"]["labels"] for workload in of_kind(objects, *WORKLOADS)]
            selectors = [(one, one["spec"]["selector"]) for one in of_kind(objects, "Service")]
            selectors += [(one, one["spec"]["podSelector"]["matchLabels"]) for one in of_kind(objects, "NetworkPolicy")]
            for one in of_kind(objects, "StatefulSet", "PodDisruptionBudget"):
                selectors.append((one, one["spec"]["selector"]["matchLabels"]))
            for workload in of_kind(objects, "StatefulSet"):
                for spread in pod_of(workload)["spec"].get("topologySpreadConstraints", []):
                    selectors.append((workload, spread["labelSelector"]["matchLabels"]))
            for one, selector in selectors:
                found = [labels for labels in pods if meets(selector, labels)]
                self.assertEqual(len(found), 1, name(one))
                self.assertEqual(found[0]["app.kubernetes.io/component"], component(one), name(one))
            services = {one["metadata"]["name"] for one in of_kind(objects, "Service")}
            for workload in of_kind(objects, "StatefulSet"):
                self.assertIn(workload["spec"]["serviceName"], services)
            workloads = {one["metadata"]["name"]: one for one in of_kind(objects, "StatefulSet")}
            for one in of_kind(objects, "HorizontalPodAutoscaler"):
                scaled = workloads[one["spec"]["scaleTargetRef"]["name"]]
                self.assertNotIn("replicas", scaled["spec"], "an upgrade would undo the scaling")
            for one in of_kind(objects, "ServiceMonitor"):
                of_release = of_kind(objects, "Service")
                watched = [service for service in of_release if meets(one["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])]
                self.assertEqual(sorted(map(component, watched)), ["accounting", "campaign", "decision", "profile"], "each server once")

    def test_only_breaks_are_hashed_and_every_path_has_its_role(self):
        objects = rendered("production")
        services = {one["metadata"]["name"]: one for one in of_kind(objects, "Service")}
        ways, hashed = {}, {}
        for one in of_kind(objects, "Ingress"):
            (rule,) = one["spec"]["rules"]
            self.assertEqual(one["spec"]["tls"][0]["hosts"], [rule["host"]])
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                self.assertIn(service["port"]["name"], [port["name"] for port in services[service["name"]]["spec"]["ports"]])
                ways[rule["host"], path["path"]] = component(services[service["name"]])
                annotations = one["metadata"].get("annotations", {})
                hashed[path["path"]] = service["name"], annotations.get("nginx.ingress.kubernetes.io/upstream-hash-by")
        players, api = "ads.example.com", "api.ads.example.com"
        self.assertEqual(ways, {(players, "/v1/ad-breaks"): "decision", (players, "/v1/listeners"): "decision", (players, "/v1/t"): "decision",
                                (players, "/v1/c"): "decision", (api, "/v1"): "campaign"})
        self.assertEqual({path for path, (_, by) in hashed.items() if by}, {"/v1/ad-breaks", "/v1/listeners"})
        self.assertEqual(hashed["/v1/ad-breaks"][1], "$http_x_segue_listener")
        # ingress-nginx has one way of balancing for a Service, whichever Ingress leads there.
        self.assertNotEqual(hashed["/v1/t"][0], hashed["/v1/ad-breaks"][0])
        own = rendered("production", "--set=ingress.players.hashHeader=")
        self.assertFalse([one for one in of_kind(own, "Ingress") if "upstream-hash-by" in str(one)])

    def test_policies_let_out_what_is_reached_and_nothing_else(self):
        for values, kafka, cql in (("minimal", {9092}, {9042}), ("production", {9093, 9094, 9095}, {9042}), ("small", set(), set())):
            for one in of_kind(rendered(values), "NetworkPolicy"):
                self.assertEqual(one["spec"]["policyTypes"], ["Ingress", "Egress"])
                ports = {port["port"] for rule in one["spec"]["egress"] for port in rule["ports"]}
                self.assertEqual(ports, {53} | kafka | cql, name(one))
        inward = {component(one): one["spec"].get("ingress") for one in of_kind(rendered("minimal"), "NetworkPolicy")}
        def namespaces(rules):
            return [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for rule in rules or [] for peer in rule["from"]]

        both = ["monitoring", "ingress-nginx"]
        self.assertEqual({role: namespaces(rules) for role, rules in inward.items()},
                         {"decision": both, "campaign": both, "accounting": ["monitoring"], "profile": ["monitoring"], "setup": []})

    def test_topics_and_tables_are_made_before_the_servers(self):
        for values in ("minimal", "production"):
            (job,) = of_kind(rendered(values), "Job")
            self.assertEqual(job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade")
            # Nothing of the release is there yet but what is a hook too.
            self.assertNotIn("serviceAccountName", pod_of(job)["spec"])
            (policy,) = [one for one in of_kind(rendered(values), "NetworkPolicy") if component(one) == "setup"]
            before, then = (int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in (policy, job))
            self.assertLess(before, then)
            topics, schema = containers(job)
            self.assertEqual(schema["args"], ["schema", "apply"])
            self.assertIn("topics apply", " ".join(topics.get("args", topics.get("command", []))))
        self.assertEqual(containers(of_kind(rendered("minimal"), "Job")[0])[0]["args"], ["topics", "apply"])

    def test_custom_objects_are_built_as_the_prometheus_operator_reads_them(self):
        """Their schemas are the operator's, and not here: what they are made of is compared with what its documentation names."""
        (monitor,) = of_kind(rendered("production"), "ServiceMonitor")
        (rule,) = of_kind(rendered("production"), "PrometheusRule")
        for one in (monitor, rule):
            self.assertEqual(one["apiVersion"], "monitoring.coreos.com/v1")
            self.assertEqual(one["metadata"]["labels"]["release"], "prometheus")
        self.assertEqual(set(monitor["spec"]), {"selector", "targetLabels", "endpoints"})
        self.assertEqual([set(endpoint) for endpoint in monitor["spec"]["endpoints"]], [{"port", "path", "interval"}])
        for group in rule["spec"]["groups"]:
            self.assertEqual(set(group), {"name", "rules"})
            for alert in group["rules"]:
                self.assertLessEqual(set(alert), {"alert", "expr", "for", "labels", "annotations"})
                self.assertIn(alert["labels"]["severity"], ("warning", "critical"))
                self.assertEqual(set(alert["annotations"]), {"summary", "description"})
                self.assertNotIn("@", str(alert), "a place that was not filled in")
                if "for" in alert:
                    self.assertRegex(alert["for"], "^[0-9]+m$")

    def test_the_notes_name_what_is_there(self):
        for values in SETS:
            notes = self.notes(values)
            objects = rendered(values)
            names = {one["metadata"]["name"] for one in objects}
            for service in re.findall(r"svc/(\S+)", notes):
                self.assertIn(service, names)
            for pod in re.findall(r"exec (\S+)-0 ", notes):
                self.assertIn(pod, names)
            self.assertIn("operator.key", notes)
            self.assertEqual(values != "small", "Scaling in" in notes, values)
            self.assertNotIn("WARNING", notes, values)
            self.assertIn(f"-n {NAMESPACE} ", notes)
        unset = self.notes("production", "--set=config.server.trusted_proxies=", "--set=config.server.public_url=")
        self.assertEqual(unset.count("WARNING"), 2)

    def notes(self, values, *more):
        """`helm template` leaves the notes out, and `install` asks a cluster: they are rendered as a file among the others."""
        with tempfile.TemporaryDirectory() as folder:
            chart = Path(folder) / "segue"
            shutil.copytree(CHART, chart)
            (chart / "templates/NOTES.txt").rename(chart / "NOTES")
            (chart / "templates/notes.yaml").write_text("{{ tpl (.Files.Get \"NOTES\") . }}\n")
            status, printed = template(values, "--show-only", "templates/notes.yaml", "--debug", *more, chart=chart)
            self.assertIn("operator.key", printed, status)
            return printed
