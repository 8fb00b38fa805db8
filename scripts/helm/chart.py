"""The chart as Helm renders it, for the tests beside this file."""

import functools
import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/segue"
# Each stands for a way to run Segue: nothing but what must be said, everything said, and one server.
SETS = ("minimal", "production", "small")
NAMESPACE = "ads"
# The oldest Kubernetes that the chart takes, and the newest whose schemas are there. It is always named: a Helm built from its module, without the flags
# of its releases, takes Kubernetes for a very old one.
KUBERNETES = ("1.30", "1.37")


def helm(*arguments):
    """Runs Helm; its exit status and all that it printed."""
    done = subprocess.run([os.environ["SEGUE_TEST_HELM"] + "/helm", *arguments], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def template(values, *more, chart=CHART):
    """What `helm template` answers to a set of values and further arguments."""
    return helm("template", "rel", str(chart), "--namespace", NAMESPACE, "--kube-version", KUBERNETES[-1],
                "--values", str(CHART / f"ci/{values}-values.yaml"), *more)


@functools.cache
def rendered(values, *more):
    """The objects of a set of values."""
    status, printed = template(values, *more)
    assert status == 0, printed
    return [document for document in yaml.safe_load_all(printed) if document]


def of_kind(objects, *kinds):
    return [one for one in objects if one["kind"] in kinds]


def name(one):
    return f'{one["kind"]} {one["metadata"]["name"]}'


def pod_of(workload):
    return workload["spec"]["template"]


def containers(workload):
    spec = pod_of(workload)["spec"]
    return spec.get("initContainers", []) + spec["containers"]


def environment(container):
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}


def component(one):
    return one["metadata"]["labels"].get("app.kubernetes.io/component")


def meets(selector, labels):
    """Whether a selector of labels, as a Service or matchLabels has it, takes these."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())
