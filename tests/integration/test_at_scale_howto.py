"""docs/howto/extract-at-scale.md and train-at-scale.md: what one machine can run is run, every other command has the options it is given.

The Slurm scripts and the Kubernetes job are checked by their own validators.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from crossan.common.stores import logical_digest, open_store
from support.started import CEILING_S, PROGRAMS

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
PAGE = HOWTO / "extract-at-scale.md"
TRAIN_PAGE = HOWTO / "train-at-scale.md"
SBATCH = HOWTO / "examples" / "extract.sbatch"
TRAIN_SBATCH = HOWTO / "examples" / "train.sbatch"
JOB = HOWTO / "examples" / "extract-job.yaml"
SHARDS = 16


def _blocks(language, page=PAGE):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def _commands(text):
    """Return the `crossan` commands of a shell text, each as its words."""
    pattern = r"(?<![\w/=-])(?:crossan-extract|crossan-train|crossan (?:cache|data|backbones)) .*"
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
    known = _check_options(commands)
    others = {"--array", "--signal"}  # Slurm's
    for option in set(inline) - others:
        assert f"{option} " in known["crossan-extract",], option


def test_every_option_for_training_exists():
    script = TRAIN_SBATCH.read_text().partition("rank \\\n")[2]
    commands = [
        found
        for block in [*_blocks("sh", TRAIN_PAGE), *_blocks("bash", TRAIN_PAGE)]
        for found in _commands(block)
    ]
    commands += [["crossan-train", *script.replace("\\\n", " ").split()]]
    assert len(commands) == 10
    known = _check_options(commands)
    others = {
        "--nodes",
        "--ntasks-per-node",
        "--signal",
        "--max-restarts",
        "--no-python",
    }  # Slurm's and torchrun's
    for option in set(re.findall(r"`(--[a-z-]+)[ `=]", TRAIN_PAGE.read_text())) - others:
        assert f"{option} " in known["crossan-train",], option
    launcher = _help(["torchrun"])
    launches = [
        line
        for block in _blocks("bash", TRAIN_PAGE)
        for line in block.split("crossan-train")[:1]
        if "torchrun" in line
    ]
    for option in [*re.findall(r"--[a-z-]+", " ".join(launches)), "--standalone", "--max-restarts"]:
        assert re.search(rf"{option}[ ,\n]", launcher), option


def _check_options(commands):
    """See that every command has the options it is given; return the help of each."""
    known = {}
    for words in commands:
        program = words[:1] if words[0] in ("crossan-extract", "crossan-train") else words[:3]
        if tuple(program) not in known:
            known[tuple(program)] = _help(program)
        for option in (word for word in words if word.startswith("--")):
            assert f"{option} " in known[tuple(program)], f"{program} has no {option}"
    return known


def _help(program):
    done = subprocess.run(
        [PROGRAMS / program[0], *program[1:], "--help"],
        env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=CEILING_S, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_blocks_for_other_machines_are_shell():
    assert (len(_blocks("bash")), len(_blocks("bash", TRAIN_PAGE))) == (4, 3)
    for block in [*_blocks("bash"), *_blocks("bash", TRAIN_PAGE)]:
        subprocess.run(["bash", "-n", "-c", block], check=True)


@pytest.fixture(scope="module")
def sample_place(toured):
    """Return a function that gives a folder what the first two commands of a page write, as `crossan demo` wrote it."""

    def fill(folder, block):
        *begin, rest = block.split("\n", 2)
        assert begin == ["crossan data sample dataset", "crossan backbones init-tiny backbones"]
        for name in ("dataset", "backbones"):
            assert f"{name} --seed 0\n" in (toured / "stderr").read_text()
            (folder / name).symlink_to(toured / "demo" / name)
        return rest

    return fill


@pytest.mark.slow
@pytest.mark.exhaustive
def test_one_machine_shards_and_ray_work_as_written(tmp_path, sample_place):
    blocks = _blocks("sh")
    blocks[0] = sample_place(tmp_path, blocks[0])
    if not (PROGRAMS / "ray").exists():
        blocks = [block for block in blocks if "--engine ray" not in block]
    assert len(blocks) >= 3
    printed = [_run(block, tmp_path).stdout for block in blocks]
    assert "forwarded 0 in" in printed[2]  # the shards have left nothing undone
    folders = [
        next((tmp_path / cache / "sample" / "image").iterdir()) for cache in ("cache", "sharded")
    ]
    assert len(list((folders[1] / "segments").iterdir())) == 1
    if len(blocks) == 4:
        folders.append(next((tmp_path / "clustered" / "sample" / "image").iterdir()))
    assert len({logical_digest(open_store(folder)) for folder in folders}) == 1
    if len(blocks) < 4:
        pytest.skip("Ray is not installed: its block was not run; pip install 'crossan[ray]'")


def _run(block, folder, **more):
    """Run a block of shell as it is written; it must hold."""
    environment = {
        **os.environ,
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        **more,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sample_place):
    """The first block of the page on training, run: dataset, cache, and the run of one process."""
    folder = tmp_path_factory.mktemp("training")
    _run(sample_place(folder, _blocks("sh", TRAIN_PAGE)[0]), folder)
    return folder


def _epochs(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_one_process_torchrun_and_ray_train_the_same_as_written(trained):
    _, torchrun, again, ray = _blocks("sh", TRAIN_PAGE)
    _run(torchrun, trained)
    _run(again, trained)
    assert len(_epochs(trained / "runs" / "two")) == 3
    runs = ["two"]
    if (PROGRAMS / "ray").exists():
        _run(ray, trained)
        runs.append("ray")
    for name in runs:
        for one, other in zip(
            _epochs(trained / "runs" / "one"), _epochs(trained / "runs" / name), strict=False
        ):
            assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
    if "ray" not in runs:
        pytest.skip("Ray is not installed: its block was not run; pip install 'crossan[ray]'")


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_slurm_script_starts_a_rank_in_every_task(trained):
    """Slurm's commands are stood in for by shell: `srun` starts two tasks on this machine, numbered as Slurm numbers them."""
    stand_ins = """
scontrol() { echo localhost; echo another; }
srun() {
  [ "$1" = --kill-on-bad-exit=1 ]; shift
  SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
  SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
  wait $first; wait $second
}
"""
    script = (
        TRAIN_SBATCH.read_text()
        .replace("exec srun", "srun")
        .replace("--resume", "--resume --set max_epochs=1")
    )
    job = {
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_NTASKS": "2",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_CPUS_PER_TASK": "1",
    }
    named = {"DATASET": "dataset", "CACHE": "cache", "RUN": "runs/slurm"}
    done = _run(stand_ins + script, trained, **job, **named)
    assert done.stderr.count("; 2 ranks") == 1
    assert len(_epochs(trained / "runs" / "slurm")) == 1
    refused = subprocess.run(
        ["bash", "-c", stand_ins + script],
        env={"PATH": os.environ["PATH"], **job},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode != 0, "DATASET" in refused.stderr) == (True, True)


def test_the_kubernetes_job_is_valid_and_counts_as_we_do():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    job = _job()
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert spec["completions"] == spec["parallelism"] == int(environment["SHARDS"]) == SHARDS
    (policy,) = [
        rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    ]
    assert (policy["containerName"], policy["values"]) == (container["name"], [2, 3, 4, 5])
    assert _shards_asked_for(
        container["command"][2], "JOB_COMPLETION_INDEX", range(SHARDS), environment
    ) == [f"{number}/16" for number in range(1, 17)]


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
        ["bash", SBATCH],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0, "MODALITY" in done.stderr) == (True, True)


@pytest.mark.parametrize("script", [SBATCH, TRAIN_SBATCH], ids=lambda path: path.name)
def test_slurm_takes_the_script(script):
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        pytest.skip(
            "sbatch is not installed (apt-get install slurm-wlm): the script was only read, not validated by Slurm"
        )
    subprocess.run(["bash", "-n", script], check=True)
    options = ["--test-only", "--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=100M"]
    done = subprocess.run(
        [sbatch, *options, script], capture_output=True, text=True, timeout=CEILING_S, check=False
    )
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
            capture_output=True, text=True, timeout=CEILING_S, check=True,
        ).stdout.strip()
        for number in numbers
    ]  # fmt: skip
