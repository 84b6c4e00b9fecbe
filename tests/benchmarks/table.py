"""The results as a table, and the growth as a picture."""

from pathlib import Path
from typing import Any

START, END = "<!-- results -->", "<!-- end of results -->"


def write(results: dict[str, Any], folder: Path) -> None:
    """Put the table between the marks of README.md, and draw growth.svg where growth was measured."""
    readme = folder / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{START}\n{table(results)}\n{END}{after}", encoding="utf-8")
    points = growth(results)
    if points:
        draw(points, folder / "growth.svg")


def table(results: dict[str, Any]) -> str:
    """Markdown: every row's figures beside its peers', with the ratio to our own."""
    host = results["machine"]
    lines = [
        f"Measured {host['measured']} on {host['cores']} cores, Python {host['python']}: medians; machines differ, ratios less so.",
        "",
        "| row | what | seconds | against ours | us per Observation | peak MB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row, found in results["rows"].items():
        measured = found["measured"]
        own = next(iter(measured.values()))["median_seconds"]
        for name, one in measured.items():
            seconds = one["median_seconds"]
            each = f"{seconds / found['observations'] * 1e6:.2f}" if "observations" in found else ""
            lines.append(f"| {row} | {name} | {seconds:.3g} | {seconds / own:.2f} | {each} | {one['peak_mb']} |")
    return "\n".join(lines)


def growth(results: dict[str, Any]) -> list[tuple[int, float, int]]:
    """Patients, seconds and peak MB of the growth rows."""
    return [
        (found["patients"], found["measured"]["screener"]["median_seconds"], found["measured"]["screener"]["peak_mb"])
        for row, found in results["rows"].items()
        if row.startswith("growth")
    ]


def draw(points: list[tuple[int, float, int]], file: Path) -> None:
    """Time and memory per number of patients."""
    import matplotlib as mpl  # noqa: PLC0415 - of the report extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "screener"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    patients = [point[0] for point in points]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    left.loglog(patients, [point[1] for point in points], "o-", color="#1b6ca8")
    left.loglog(patients, [points[0][1] * count / patients[0] for count in patients], ":", color="#777777")
    left.set(xlabel="patients", ylabel="seconds", title="time (dotted: linear)")
    right.semilogx(patients, [point[2] for point in points], "o-", color="#1b6ca8")
    right.set(xlabel="patients", ylabel="MB, all processes", title="peak memory", ylim=(0, None))
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
