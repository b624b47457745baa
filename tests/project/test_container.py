"""The Dockerfile and the compose file, only parsed here. scripts/try-image runs the steps."""

import re
from typing import Any

import pytest
import yaml

from app.configuration import load_settings
from app.settings import Settings
from app.variables import PREFIX
from tests.dockerfile import ROOT, Stage, read_stages

BUILD, FINAL = read_stages()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROXY = SERVICES["proxy"]
KNOWN = {PREFIX + name.upper() for name in Settings.model_fields}
PORT = str(Settings.model_fields["port"].default)


def sources(stage: Stage) -> list[str]:
    """Return the paths that a stage copies from the repository."""
    copies = [copy for copy in stage.all("COPY") if "--from" not in copy.value]
    return [source for copy in copies for source in copy.words[:-1]]


def test_both_stages_start_from_one_pinned_base() -> None:
    bases = [stage.one("FROM").words[0] for stage in (BUILD, FINAL)]
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", bases[0])


def test_what_is_installed_is_pinned() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    installs = [run.value for run in BUILD.all("RUN") if " install " in run.value]
    assert len(installs) == 2
    assert all("--no-deps" in run for run in installs)


def test_the_image_is_made_of_what_the_build_context_lets_through() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    assert sorted(sources(BUILD)) == sorted(allowed)
    assert all((ROOT / source).exists() for source in allowed)


def test_only_the_environment_that_was_built_reaches_the_image() -> None:
    assert sources(FINAL) == []
    assert FINAL.one("COPY").value == "--from=build /opt/reprise /opt/reprise"
    assert FINAL.environment["PATH"].startswith("/opt/reprise/bin:")
    assert "--without-pip" in BUILD.all("RUN")[0].value
    assert "pip uninstall" in FINAL.one("RUN").value


def test_the_process_runs_as_nobody_in_particular() -> None:
    user, group = FINAL.one("USER").value.split(":")
    assert user.isdecimal()
    assert int(user) >= 10_000
    run = FINAL.one("RUN").value
    assert f"--uid {user} --gid {group}" in run
    assert f"--owner={user} --group={group}" in run
    names = [instruction.name for instruction in FINAL.instructions]
    assert names.index("RUN") < names.index("USER") < names.index("CMD")


def test_the_process_is_told_of_signals_and_asked_for_its_health() -> None:
    assert FINAL.one("CMD").exec_form == ["reprise", "serve"]
    assert FINAL.one("STOPSIGNAL").value == "SIGTERM"
    assert FINAL.one("EXPOSE").value == PORT
    python, flag, code = FINAL.one("HEALTHCHECK").exec_form
    assert (python, flag) == ("python", "-c")
    assert "/healthz" in code
    assert PORT in code


def test_what_is_kept_is_on_a_volume_of_the_user() -> None:
    (volume,) = FINAL.one("VOLUME").exec_form
    assert FINAL.one("WORKDIR").value == volume == "/data"
    assert FINAL.one("RUN").value.endswith(f" {volume}")


def test_the_image_and_the_compose_file_name_settings_that_there_are() -> None:
    named = set(re.findall(rf"{PREFIX}\w+", (ROOT / "docker-compose.yml").read_text()))
    named |= {name for name in FINAL.environment if name.startswith(PREFIX)}
    assert named <= KNOWN


def test_the_proxy_starts_without_any_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in PROXY["environment"].items():
        # What compose puts in place of a variable that is not set.
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(value)))
    settings = load_settings()
    assert settings.keeps_credentials
    assert settings.shutdown_timeout < seconds(PROXY["stop_grace_period"])


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


def test_the_proxy_is_published_to_this_machine_alone() -> None:
    assert PROXY["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert PROXY["environment"]["REPRISE_PORT"] == int(PORT)
    assert "ports" not in SERVICES["valkey"]


def test_a_plain_up_starts_the_proxy_with_its_store() -> None:
    assert not any("profiles" in service for service in SERVICES.values())
    assert set(SERVICES) == {"proxy", "valkey"}
    for name, dependency in PROXY["depends_on"].items():
        assert "healthcheck" in SERVICES[name]
        assert dependency == {"condition": "service_healthy"}
    assert "valkey://valkey:6379/0" in PROXY["environment"]["REPRISE_STORE"]
    assert PROXY["env_file"] == [{"path": ".env", "required": False}]


def test_the_store_keeps_its_data_across_restarts() -> None:
    command = SERVICES["valkey"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"


def test_images_from_elsewhere_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    assert len(images) == 1
    assert re.fullmatch(r"valkey/valkey-bundle:9\.\d+\.\d+", images[0])


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_bounded_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["restart"] == "unless-stopped"
    (volume,) = service["volumes"]
    assert volume.split(":")[0] in COMPOSE["volumes"]
    assert volume.split(":")[1] == "/data"


def test_the_store_evicts_only_what_may_expire() -> None:
    command = SERVICES["valkey"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "volatile-lru"
    assert "--maxmemory" in command
