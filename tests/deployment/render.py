"""Renders the Helm chart with the real helm, for the tests: a machine without helm can still check what it made.

python -m tests.deployment.render      needs helm on the path; writes rendered/*.yaml
"""

import hashlib
import subprocess
from pathlib import Path

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "screener"
RENDERED = Path(__file__).parent / "rendered"
# What is rendered: by the name of the file, the values that are set.
VARIANTS = {
    "cronjobs": (),
    "worker": ("mode=worker",),
    "openshift": ("podSecurity=null",),
    "postgresql": (
        "persistence.enabled=false",
        "environmentSecretName=screener-state",
        "image.pullSecrets[0].name=pull",
    ),
}


def digest() -> str:
    """Of the chart's files: what was rendered holds for these alone."""
    found = hashlib.sha256()
    for file in sorted(file for file in CHART.rglob("*") if file.is_file()):
        found.update(file.relative_to(CHART).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def main() -> None:
    """Lint, and render every variant."""
    subprocess.run(["helm", "lint", "--strict", CHART], check=True)
    RENDERED.mkdir(exist_ok=True)
    for name, values in VARIANTS.items():
        settings = [part for value in values for part in ("--set", value)]
        made = subprocess.run(
            ["helm", "template", "hospital", CHART, "--namespace", "screening", "--kube-version", "1.31.0", *settings],
            check=True,
            capture_output=True,
            text=True,
        )
        text = f"# Made by helm from the chart with SHA-256 {digest()}\n{made.stdout}"
        (RENDERED / f"{name}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
