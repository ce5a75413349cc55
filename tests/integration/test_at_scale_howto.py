"""docs/howto/extract-at-scale.md: what one machine can run is run, every other command has the options it is given.

The Slurm script and the Kubernetes job are checked by their own validators.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crossan.common.stores import logical_digest, open_store

PROGRAMS = Path(sys.executable).parent
HOWTO = Path(__file__).parents[2] / "docs" / "howto"
PAGE = HOWTO / "extract-at-scale.md"
SBATCH = HOWTO / "examples" / "extract.sbatch"
JOB = HOWTO / "examples" / "extract-job.yaml"
SHARDS = 16


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def _commands(text):
    """Return the `crossan` commands of a shell text, each as its words."""
    pattern = r"(?<![\w/=-])(?:crossan-extract|crossan (?:cache|data|backbones)) .*"
    found = re.findall(pattern, text.replace("\\\n", " "))
    return [shlex.split(command.rstrip("&")) for command in found]


def _job():
    import yaml

    return yaml.safe_load(JOB.read_text())


def test_every_option_on_the_page_and_in_the_examples_exists():
    script = SBATCH.read_text().partition("exec ")[2]
    container = _job()["spec"]["template"]["spec"]["containers"][0]
    commands = [found for block in [*_blocks("sh"), *_blocks("bash")] for found in _commands(block)]
    commands += [re.sub(r"\$\{BACKBONE.*?\}", "--backbone x", script).replace("\\\n", " ").split()]
    commands += [container["command"][2].removeprefix("exec ").split()]
    inline = re.findall(r"`(--[a-z-]+)[ `=]", PAGE.read_text())
    assert len(commands) == 13
    known = {}
    for words in commands:
        program = words[:1] if words[0] == "crossan-extract" else words[:3]
        if tuple(program) not in known:
            known[tuple(program)] = _help(program)
        for option in (word for word in words if word.startswith("--")):
            assert f"{option} " in known[tuple(program)], f"{program} has no {option}"
    others = {"--array", "--signal"}  # Slurm's
    for option in set(inline) - others:
        assert f"{option} " in known["crossan-extract",], option


def _help(program):
    done = subprocess.run(
        [PROGRAMS / program[0], *program[1:], "--help"],
        env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_blocks_for_other_machines_are_shell():
    assert len(_blocks("bash")) == 4
    for block in _blocks("bash"):
        subprocess.run(["bash", "-n", "-c", block], check=True)


@pytest.mark.slow
def test_one_machine_shards_and_ray_work_as_written(tmp_path):
    blocks = _blocks("sh")
    if not (PROGRAMS / "ray").exists():
        blocks = [block for block in blocks if "--engine ray" not in block]
    assert len(blocks) >= 3
    environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": ""}
    printed = []
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    assert "forwarded 0 in" in printed[2]  # the shards have left nothing undone
    folders = [next((tmp_path / cache / "sample" / "image").iterdir()) for cache in ("cache", "sharded")]
    assert len(list((folders[1] / "segments").iterdir())) == 1
    if len(blocks) == 4:
        folders.append(next((tmp_path / "clustered" / "sample" / "image").iterdir()))
    assert len({logical_digest(open_store(folder)) for folder in folders}) == 1
    if len(blocks) < 4:
        pytest.skip("Ray is not installed: its block was not run; pip install 'crossan[ray]'")


def test_the_kubernetes_job_is_valid_and_counts_as_we_do():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    job = _job()
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert spec["completions"] == spec["parallelism"] == int(environment["SHARDS"]) == SHARDS
    (policy,) = [rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert (policy["containerName"], policy["values"]) == (container["name"], [2, 3, 4, 5])
    assert _shards_asked_for(container["command"][2], "JOB_COMPLETION_INDEX", range(SHARDS), environment) == [
        f"{number}/16" for number in range(1, 17)
    ]


def test_the_slurm_array_counts_as_we_do():
    text = SBATCH.read_text()
    directives = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, flags=re.MULTILINE))
    assert directives["array"] == f"1-{SHARDS}"
    assert f"\nSHARDS={SHARDS}\n" in text
    assert directives["signal"].startswith("B:TERM@")
    subprocess.run(["bash", "-n", SBATCH], check=True)
    needed = {"MODALITY": "image", "DATASET": "d", "CACHE": "c"}
    asked = _shards_asked_for(text, "SLURM_ARRAY_TASK_ID", range(1, SHARDS + 1), needed)
    assert asked == [f"{number}/16" for number in range(1, 17)]
    done = subprocess.run(
        ["bash", SBATCH], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0, "MODALITY" in done.stderr) == (True, True)


def test_slurm_takes_the_script():
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        pytest.skip(
            "sbatch is not installed (apt-get install slurm-wlm): the script was only read, not validated by Slurm"
        )
    options = ["--test-only", "--cpus-per-task=1", "--mem=100M"]
    done = subprocess.run([sbatch, *options, SBATCH], capture_output=True, text=True, timeout=60, check=False)
    said = done.stderr.strip()
    if "Unable to contact" in said or "configuration" in said or "Connection refused" in said:
        pytest.skip(f"no Slurm controller answers: {said.splitlines()[0]}")
    assert done.returncode == 0, said
    assert "to start at" in said


def _shards_asked_for(script, variable, numbers, environment):
    """Run a script with a `crossan-extract` that only says what --shard it was given."""
    fake = 'crossan-extract() { while [ "$1" != --shard ]; do shift; done; echo "$2"; exit; }\n'
    body = re.sub(r"\bexec (?=crossan-extract)", "", script)
    return [
        subprocess.run(
            ["bash", "-c", fake + body],
            env={**environment, "PATH": os.environ["PATH"], variable: str(number)},
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout.strip()
        for number in numbers
    ]  # fmt: skip
