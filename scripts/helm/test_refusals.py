"""Values that are wrong are refused by name, before anything is installed."""

import unittest

from chart import CHART, KUBERNETES, helm, template

REFUSED = [
    # What is asked for on top of the minimal set, and what must stand in the answer.
    (["--set=mode=few"], "at '/mode': value must be one of 'many', 'one'"),
    (["--set=roles.decision.replicas=three"], "at '/roles/decision/replicas': got string, want integer"),
    (["--set=roles.decision.replicas=0"], "at '/roles/decision/replicas': minimum: got 0, want 1"),
    (["--set=roles.acounting.replicas=3"], "at '/roles': additional properties 'acounting' not allowed"),
    (["--set=roles.assets.replicas=1"], "at '/roles': additional properties 'assets' not allowed"),
    (["--set=roles.campaign.autoscaling.enabled=true"], "at '/roles/campaign': additional properties 'autoscaling' not allowed"),
    (["--set=replicas=3"], "additional properties 'replicas' not allowed"),
    (["--set=kafka.brokers=null"], "at '/kafka': missing property 'brokers'"),
    (["--set=kafka.brokers="], "at '/kafka/brokers': '' does not match pattern"),
    (["--set=kafka.brokers=kafka"], "at '/kafka/brokers': 'kafka' does not match pattern"),
    (["--set=cql.hosts=null"], "at '/cql': missing property 'hosts'"),
    (["--set=kafka.security=ssl"], "at '/kafka/security': value must be one of"),
    (["--set=kafka.password=secret"], "at '/kafka': additional properties 'password' not allowed"),
    (["--set=config.server.worker=4"], "at '/config/server': additional properties 'worker' not allowed"),
    (["--set=config.server.workers=many"], "at '/config/server/workers': got string, want integer"),
    (["--set=config.log.format=xml"], "at '/config/log/format': value must be one of 'text', 'json'"),
    (["--set=config.journal.quota_bytes=1"], "at '/config/journal/quota_bytes': minimum: got 1, want 1.048576×10⁰⁶"),
    # The chart sets these itself.
    (["--set=config.server.roles=all"], "at '/config/server': additional properties 'roles' not allowed"),
    (["--set=config.data.dir=/data"], "at '/config': additional properties 'data' not allowed"),
    (["--set=roles.decision.storage.size=20"], "at '/roles/decision/storage/size': got number, want string"),
    (["--set=podSecurityContext.runAsUser=0"], "at '/podSecurityContext/runAsUser': minimum: got 0, want 1"),
    # What contradicts itself.
    (["--set=roles.decision.storage.size=16Gi"],
     "storage.size 16Gi is too small: two journals may take config.journal.quota_bytes (8589934592) each; give at least 16896Mi"),
    (["--set=roles.accounting.replicas=65"], "roles.accounting has up to 65 servers for 64 partitions"),
    (["--set=roles.decision.autoscaling.enabled=true", "--set=roles.decision.autoscaling.max=2"], "roles.decision.autoscaling.min 3 is more than max 2"),
    (["--set=kafka.security=sasl_tls", "--set=kafka.user=segue"],
     "kafka.user and kafka.passwordSecret.name must both be given with kafka.security sasl_tls"),
    (["--set=kafka.user=segue"], "without sasl nobody logs in"),
    (["--set=kafka.caSecret.name=ca"], "kafka.caSecret is for kafka.security tls or sasl_tls"),
    (["--set=cql.caSecret.name=ca"], "cql.caSecret is for cql.tls"),
    (["--set=cql.user=segue"], "cql.user and cql.passwordSecret.name must both be given, or neither"),
    (["--set=ingress.enabled=true"], "ingress.players.host is not set"),
]


class Refusals(unittest.TestCase):
    def test_wrong_values_are_refused_by_name(self):
        for arguments, words in REFUSED:
            with self.subTest(" ".join(arguments)):
                status, printed = template("minimal", *arguments)
                self.assertNotEqual(status, 0, "it was accepted")
                self.assertIn(words, printed)

    def test_without_any_value_both_addresses_are_asked_for(self):
        status, printed = helm("template", "rel", str(CHART), "--kube-version", KUBERNETES[-1])
        self.assertNotEqual(status, 0)
        self.assertIn("at '/kafka': missing property 'brokers'", printed)
        self.assertIn("at '/cql': missing property 'hosts'", printed)

    def test_one_server_needs_no_addresses(self):
        status, printed = helm("template", "rel", str(CHART), "--kube-version", KUBERNETES[-1], "--set=mode=one")
        self.assertEqual(status, 0, printed)

    def test_a_kubernetes_that_is_too_old_is_refused(self):
        status, printed = template("minimal", "--kube-version", "1.29.9")
        self.assertNotEqual(status, 0)
        self.assertIn("requires kubeVersion: >=1.30.0", printed)
