"""The example for Kubernetes agrees with the program, and its pods keep the Pod Security Standard `restricted`."""

import re
from typing import Any

import pytest
import yaml

from budkavle.commands.cli import main
from budkavle.settings import Settings
from budkavle.variables import check_variables
from tests.deploy.containerfiles import Image
from tests.processes import REPOSITORY
from tests.shown_commands import read_block

FOLDER = REPOSITORY / "deploy" / "kubernetes"
OBJECTS = [
    each
    for path in sorted(FOLDER.glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
    if "metadata" in each
]
BY_NAME = {(each["kind"], each["metadata"]["name"]): each for each in OBJECTS}
PODS = {name: each["spec"]["template"]["spec"] for name, each in BY_NAME.items() if "template" in each.get("spec", {})}
SETTINGS = BY_NAME["ConfigMap", "budkavle"]["data"]
IMAGE = Image(REPOSITORY / "Containerfile")
PATHS = yaml.safe_load((REPOSITORY / "spec" / "operations.yaml").read_text())["paths"]

pods = pytest.mark.parametrize("pod", PODS.values(), ids=["-".join(name) for name in PODS])


def get_container(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return dict(container)


def test_pods_are_the_migration_the_service_the_worker_and_the_operations_page() -> None:
    deployments = {name: BY_NAME["Deployment", name]["spec"]["replicas"] for kind, name in PODS if kind == "Deployment"}
    assert deployments == {"budkavle": 2, "budkavle-worker": 2, "budkavle-operations": 0}
    assert set(PODS) == {("Job", "budkavle-migrate"), *(("Deployment", name) for name in deployments)}


def test_operations_page_is_reachable_within_the_cluster_only() -> None:
    service = BY_NAME["Service", "budkavle-operations"]["spec"]
    assert service["type"] == "ClusterIP"
    pod = BY_NAME["Deployment", "budkavle-operations"]["spec"]["template"]
    assert service["selector"] == pod["metadata"]["labels"]
    [source] = BY_NAME["NetworkPolicy", "budkavle-operations"]["spec"]["ingress"][0]["from"]
    assert source == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    variables = {each["name"]: each["value"] for each in get_container(pod["spec"])["env"]}
    assert variables == {"BUDKAVLE_OPERATIONS_HOST": "0.0.0.0"}
    assert check_variables(variables) == []


@pods
def test_pod_keeps_the_standard_restricted(pod: dict[str, Any]) -> None:
    uid, gid = map(int, IMAGE.user.split(":"))
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": gid,
        "fsGroup": gid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert get_container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod["automountServiceAccountToken"] is False
    assert {volume["name"] for volume in pod["volumes"]} == {
        mount["name"] for mount in get_container(pod)["volumeMounts"]
    }
    assert "memory" in get_container(pod)["resources"]["limits"]


@pods
def test_pod_runs_a_command_without_variables_of_service_links(pod: dict[str, Any]) -> None:
    assert get_container(pod)["args"][0] in main.list_commands(None)  # type: ignore[arg-type]  # It ignores the context.
    assert pod["enableServiceLinks"] is False
    # Otherwise Kubernetes would set this variable.
    assert check_variables(["BUDKAVLE_SERVICE_HOST"]) == ["BUDKAVLE_SERVICE_HOST"]


def test_memory_of_the_service_suffices_for_its_large_bodies() -> None:
    """Request bodies, and lists and files of compatibility APIs, may each take `BUDKAVLE_BODY_BYTES`."""
    pod = PODS["Deployment", "budkavle"]
    (files,) = (volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)
    limit, in_files = (
        int(size.removesuffix("Mi")) for size in (get_container(pod)["resources"]["limits"]["memory"], files)
    )
    body_bytes = SETTINGS.get("BUDKAVLE_BODY_BYTES", Settings.model_fields["body_bytes"].default)
    rest = limit - in_files - 2 * int(body_bytes) / 1024**2
    assert rest >= 512


def test_settings_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_variables(SETTINGS) == []
    (mount,) = {
        (mount["mountPath"], pod["volumes"][0]["secret"]["secretName"])
        for pod in PODS.values()
        for mount in get_container(pod)["volumeMounts"]
        if mount["name"] == "secrets"
    }
    assert mount == ("/run/secrets/budkavle", "budkavle")
    files = {value.removeprefix(f"file:{mount[0]}/") for value in SETTINGS.values() if value.startswith("file:")}
    shown = read_block("docs/how-to/kubernetes.md", "kubectl create namespace")
    assert files == set(re.findall(r"--from-file=(\S+)", shown))
    for name, value in SETTINGS.items():
        if not value.startswith("file:"):
            monkeypatch.setenv(name, value)
    Settings()


@pods
def test_probes_query_the_health_of_the_process(pod: dict[str, Any]) -> None:
    container = get_container(pod)
    if container["name"] == "migrate":
        return
    (port,) = container["ports"]
    setting = {"service": "port", "worker": "worker_port", "operations": "operations_port"}[container["name"]]
    assert port["containerPort"] == Settings.model_fields[setting].default
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert all(probe["path"] in PATHS for probe in probes.values())


@pods
def test_pod_has_time_to_stop(pod: dict[str, Any]) -> None:
    if get_container(pod)["name"] == "migrate":
        return
    longest = float(SETTINGS["BUDKAVLE_DRAIN_SECONDS"]) + float(SETTINGS["BUDKAVLE_SHUTDOWN_TIMEOUT"])
    assert pod["terminationGracePeriodSeconds"] > longest + Settings.model_fields["record_timeout"].default
    assert float(SETTINGS["BUDKAVLE_DRAIN_SECONDS"]) > 0


def test_selectors_find_their_pods() -> None:
    labels = {name: BY_NAME[name]["spec"]["template"]["metadata"]["labels"] for name in PODS}
    service = labels["Deployment", "budkavle"]
    assert BY_NAME["Service", "budkavle"]["spec"]["selector"] == service
    assert BY_NAME["PodDisruptionBudget", "budkavle"]["spec"]["selector"]["matchLabels"] == service
    for name in PODS:
        if name[0] == "Deployment":
            assert BY_NAME[name]["spec"]["selector"]["matchLabels"] == labels[name]
    policies = [each["spec"] for each in OBJECTS if each["kind"] == "NetworkPolicy"]
    for name, found in labels.items():
        applied = [spec for spec in policies if spec["podSelector"]["matchLabels"].items() <= found.items()]
        types = {kind for spec in applied for kind in spec["policyTypes"]}
        assert types == ({"Egress"} if name[0] == "Job" else {"Egress", "Ingress"})


def test_kustomization_lists_all_files_and_the_version_of_the_image() -> None:
    found = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(found["resources"]) == files
    (image,) = found["images"]
    assert image == {"name": "budkavle", "newTag": IMAGE.labels["org.opencontainers.image.version"]}
    assert {get_container(pod)["image"] for pod in PODS.values()} == {image["name"]}
