"""The manifests: valid for Kubernetes, and consistent with the rest of the project."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from app.configuration import check
from app.settings import FixedSettings
from app.stores.valkey.url import address_of
from app.variables import PREFIX
from tests.stores.valkey_fleet import RIGHTS

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "deploy" / "kubernetes.yaml").read_text()
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all(TEXT))


def found(kind: str, name: str = "reprise") -> dict[str, Any]:
    """Return the specification of one object of the manifests."""
    (spec,) = (
        document["spec"]
        for document in DOCUMENTS
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    )
    return dict(spec)


POD = found("Deployment")["template"]["spec"]
(PROXY,) = POD["containers"]
VALKEY_POD = found("StatefulSet", "reprise-valkey")["template"]["spec"]
(VALKEY,) = VALKEY_POD["containers"]


@pytest.mark.parametrize("version", ["1.30", "1.33", "1.37"])
@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda d: f"{d['kind']}-{d['metadata']['name']}"
)
def test_a_manifest_has_nothing_that_its_schema_does_not_know(
    document: dict[str, Any], version: str
) -> None:
    validate(document, version, strict=True)


def test_the_schemas_notice_a_mistake() -> None:
    (document,) = (d for d in DOCUMENTS if d["kind"] == "PodDisruptionBudget")
    wrong = {**document, "spec": {**document["spec"], "minimum": 1}}
    with pytest.raises(Exception, match="minimum"):
        validate(wrong, "1.37", strict=True)


def test_every_object_selects_the_pods_that_it_is_for() -> None:
    for kind, name in (("Deployment", "reprise"), ("StatefulSet", "reprise-valkey")):
        spec = found(kind, name)
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == labels == found("Service", name)["selector"]
    labels = found("Deployment")["template"]["metadata"]["labels"]
    assert found("PodDisruptionBudget")["selector"]["matchLabels"] == labels


def test_settings_are_ours_and_may_stand_together() -> None:
    told = {item["name"]: item.get("value", "secret") for item in PROXY["env"]}
    known = {PREFIX + name.upper(): name for name in FixedSettings.model_fields}
    assert set(told) <= set(known)
    settings = FixedSettings(
        host="0.0.0.0",  # noqa: S104 - as the image has it
        **{known[name]: value for name, value in told.items()},
    )
    check(settings)
    mounted = [m["mountPath"] for m in PROXY["volumeMounts"]]
    assert str(Path(address_of(settings.store).password_file).parent) in mounted
    assert address_of(settings.store).host == "reprise-valkey"
    # What a Service sets of itself looks like a setting.
    assert POD["enableServiceLinks"] is False


def test_a_proxy_has_the_time_that_it_needs_to_end() -> None:
    pause = PROXY["lifecycle"]["preStop"]["sleep"]["seconds"]
    default = FixedSettings.model_fields["shutdown_timeout"].default
    assert POD["terminationGracePeriodSeconds"] > pause + default + 10


def test_the_image_is_run_as_it_was_built() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    user, group = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)[0]
    context = POD["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    (port,) = PROXY["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in dockerfile
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert VALKEY["image"] == compose["services"]["valkey"]["image"]


def test_nobody_has_more_privileges_than_needed() -> None:
    containers = chain(POD["containers"], VALKEY_POD["initContainers"], VALKEY_POD["containers"])
    for container in containers:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= set(container["resources"])
    for pod in (POD, VALKEY_POD):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False


def test_the_proxies_have_the_rights_that_readme_gives() -> None:
    (line,) = re.findall(r"user (reprise .+)", TEXT)
    assert line.replace("$(cat /run/secrets/valkey/password)", "secret") == RIGHTS
