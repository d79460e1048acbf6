"""What a process that we start inherits: the environment without variables of other programs, and a safe import path.

A config holds everything that a result depends on. A scheduler, a launcher or another training's shell leaves variables
behind that our libraries read by themselves: with WORLD_SIZE=2 and RANK=0 a training would take half of each
batch, with PL_TRAINER_MAX_STEPS it would end early, under the key of the whole one. So a training inherits everything but:

    ranks          RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, NODE_RANK ...: it gets its own (`rank_variables`)
    schedulers     SLURM_, PBS_, LSB_, OMPI_, PMI_ ...: Lightning and accelerate take them for a job of several processes
    launchers      TORCHELASTIC_, PET_ (torchrun), ACCELERATE_, FSDP_, DEEPSPEED_, PARALLELISM_CONFIG_ (accelerate launch)
    defaults       PL_, LT_ (Lightning: seeds, arguments of the Trainer), TRANSFORMERS_SDPA_FORCE_GQA, USE_HUB_KERNELS
    numbers        switches that override how exactly a GPU or oneDNN computes, and torch's switch that makes loading unsafe

Kept is what describes the machine and not the training: PATH, HOME, CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS, NCCL_*, proxies,
tokens, caches. No module outside of the standard library is imported here, so that this is early enough.
"""

import os
import sys
from collections.abc import Mapping, MutableMapping

CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
RANKS = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "NODE_RANK", "ROLE_RANK",
    "ROLE_WORLD_SIZE", "ROLE_NAME", "NNODES", "NPROC", "NPROC_PER_NODE", "MASTER_ADDR", "MASTER_PORT", "STANDALONE_PORT",
)  # fmt: skip
SCHEDULERS = (
    "SLURM", "SRUN_", "SBATCH_", "PBS_", "LSB_", "LSF_", "JSM_", "OMPI_", "PMI_", "PMIX_", "MPI_", "MV2_", "I_MPI_", "PALS_",
    "FLUX_", "SM_", "SMDATAPARALLEL_", "KUBERNETES_", "KUBEFLOW_", "TPU_", "PJRT_", "XLA_", "USE_TORCH_XLA", "TRAINING_JOB_ARN",
)  # fmt: skip
LAUNCHERS = (
    "TORCHELASTIC_", "TORCH_ELASTIC_", "PET_", "ACCELERATE_", "FSDP_", "DEEPSPEED_", "DS_ACCELERATOR", "MEGATRON_",
    "PARALLELISM_CONFIG_", "FP8_", "MIXED_PRECISION",
)  # fmt: skip
DEFAULTS = ("PL_", "LT_", "TRANSFORMERS_SDPA_FORCE_GQA", "TRANSFORMERS_DISABLE_", "USE_HUB_KERNELS")
NUMBERS = (
    "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE", "CUBLAS_EMULAT",
)  # fmt: skip
FOREIGN = (*SCHEDULERS, *LAUNCHERS, *DEFAULTS, *NUMBERS)  # each is a name or the beginning of one
SPINS = "1000"  # turns of a loop, some microseconds


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as `python -m` would, but with a safe import path (`vpo.processes.child`)."""
    return [sys.executable, CHILD, module, *arguments]


def import_path() -> str:
    """The folders that this process imports from, as one variable; the working folder, which may be '', is last."""
    here = os.getcwd()
    places = [os.path.abspath(one) for one in sys.path]
    return os.pathsep.join([*(one for one in places if one != here), *([here] if here in places else [])])


def without_foreign_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables of other programs (see the module's text)."""
    return {name: value for name, value in environment.items() if name not in RANKS and not name.startswith(FOREIGN)}


def rank_variables(rank: int, world: int, port: int, run: str) -> dict[str, str]:
    """The variables by which torchrun describes a rank; `run` is a name that the ranks of one training share.

    The one rank of a training on one device gets no LOCAL_RANK and no address: with these, accelerate would set up a
    process group and wrap the model for it.
    """
    if world == 1:
        return {"RANK": "0", "WORLD_SIZE": "1"}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": run,
    }


def training_environment(rank: int, world: int, port: int, run: str) -> dict[str, str]:
    """The whole environment of one rank of a training."""
    environment = without_foreign_variables(os.environ)
    if world > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // world)))
    limit_openmp_spin(environment)
    environment |= {
        "VPO_PARENT": str(os.getpid()),
        "PYTHONSAFEPATH": "1",  # a file of the user's folder called queue.py must not replace the library's
        "PYTHONUTF8": "1",
        "VPO_IMPORT_PATH": import_path(),
        "PYTHONPATH": _named(environment.get("PYTHONPATH", "")),
    }
    return environment | rank_variables(rank, world, port, run)


def limit_openmp_spin(environment: MutableMapping[str, str]) -> None:
    """Limit how long OpenMP's waiting threads spin, unless the user has set it; effective if set before torch is imported.

    GNU's OpenMP has them spin for some milliseconds first. Where several trainings share the cores, each then waits for
    threads that only spin: two at once on two cores took more than ten times as long as one (and one alone no less).
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)


def _named(path: str) -> str:
    """PYTHONPATH without empty entries, which mean the working folder and come of `PYTHONPATH=$PYTHONPATH:more`."""
    return os.pathsep.join(one for one in path.split(os.pathsep) if one)


def prepare_run() -> None:
    """Give this process, and what it starts from here on (a pool, a training, a launcher's job), the same conditions.

    It samples and scores with the libraries that a training uses, so variables that they would read are removed. A scheduler's
    variables stay: a launcher reads them for its job, and nothing that runs here does.
    """
    for name in [one for one in os.environ if one in RANKS or one.startswith((*LAUNCHERS, *DEFAULTS, *NUMBERS))]:
        del os.environ[name]
    os.environ["PYTHONSAFEPATH"] = "1"
    limit_openmp_spin(os.environ)


def ensure_utf8() -> None:
    """Make this process read and write UTF-8, whatever the locale.

    Under a POSIX locale Python can neither open a file whose name is not ASCII nor write its name anywhere, so the same
    command is started again, in place of this process, in UTF-8 mode. What a terminal cannot show is written escaped.
    """
    if sys.getfilesystemencoding().lower().replace("-", "") != "utf8":
        os.environ.update(PYTHONSAFEPATH="1", VPO_IMPORT_PATH=import_path())
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *python_command("vpo")[1:], *sys.argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
